"""What an exchange was about: endpoint, models, usage, outcome, and the answer as one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from addons.openai import assemble, assemble_responses, azure, endpoints, errors
from addons.openai import usage as usages
from addons.openai.body import Opened, header, open_body
from addons.openai.endpoints import Bills
from addons.openai.hosted_tools import hosted_tools
from addons.openai.messages import ApiError, Request, Response, Summary
from addons.openai.usage import Usage

Json = dict[str, Any]


def summarize(request: Request, response: Response | None) -> Summary:
    """Read an exchange, however it ended. Never raises for what is in the bodies.

    `response` is None where none came. Works on any host's OpenAI-shaped traffic, in any content coding,
    and on bodies that break off anywhere.
    """
    url = urlsplit(request.url)
    asked = open_body(request)
    upgrade = bool(header(request.headers, "upgrade"))
    endpoint = endpoints.guess(request.method, url.path, upgrade=upgrade)
    summary = Summary(endpoint.name, endpoint.bills, endpoint.counted, request=_shown(asked))
    summary.truncated += [f"request: {reason}" for reason in asked.truncated]
    _read_request(summary, asked.value, url.path)
    if response is None:
        summary.model = summary.model_requested
        summary.usage_missing = "no answer came"
        return summary
    answer = open_body(response)
    summary.truncated += [f"response: {reason}" for reason in answer.truncated]
    if not response.complete:
        summary.truncated.append("response: it broke off")
    summary.stream = answer.events is not None
    summary.output = _assembled(summary.endpoint, answer)
    summary.error = _error(answer, response.status)
    _read_answer(summary, summary.output, response)
    summary.api_version = next(iter(parse_qs(url.query).get("api-version", [])), None) or (
        header(response.headers, "openai-version") or None
    )
    _read_usage(summary, answer, response)
    summary.hosted_tools = hosted_tools(summary.endpoint, summary.model, summary.output)
    return summary


def _shown(opened: Opened) -> Any:
    return opened.text if opened.value is None else opened.value


def _read_request(summary: Summary, body: Any, path: str) -> None:
    summary.model_requested = deployment = azure.deployment(path)
    if not isinstance(body, Mapping):
        return
    # On a deployment's path the URL decides; the body's model is ignored there.
    summary.model_requested = deployment or _text(body.get("model"))
    summary.stream = body.get("stream") is True
    summary.user = _text(body.get("user"))
    summary.safety_identifier = _text(body.get("safety_identifier"))
    summary.previous_response_id = _text(body.get("previous_response_id"))
    summary.conversation_id = _id(body.get("conversation"))
    if isinstance(metadata := body.get("metadata"), Mapping):
        summary.metadata = dict(metadata)


def _assembled(endpoint: str, answer: Opened) -> Any:
    """The answer as the object that a call without streaming returns."""
    if answer.events is None:
        value = answer.value
        if isinstance(value, Mapping) and isinstance(value.get("response"), Mapping):
            kind = value.get("type")
            if isinstance(kind, str) and kind.startswith("response."):
                return value["response"]  # a lone event of a stream, sent as JSON
        return _shown(answer)
    events = [event for event in answer.events if errors.of_event(event) is None or "choices" in event]
    if endpoint == "chat":
        return assemble.chat(events)
    if endpoint == "completions":
        return assemble.completion(events)
    if endpoint == "responses":
        return assemble_responses.response(answer.events)
    return {"object": "event_stream", "events": answer.events}


def _error(answer: Opened, status: int) -> ApiError | None:
    if answer.events is None:
        return errors.of_body(_shown(answer), status)
    found = [error for event in answer.events if (error := errors.of_event(event)) is not None]
    # `error` says more than the `response.failed` that follows it.
    return found[0] if found else None


def _read_answer(summary: Summary, output: Any, response: Response) -> None:
    summary.model = header(response.headers, "openai-model") or None
    if isinstance(output, Mapping):
        summary.model = _text(output.get("model")) or summary.model or _model_of_events(output)
        summary.service_tier = _text(output.get("service_tier"))
        summary.response_id = _text(output.get("id"))
        summary.finish_reasons = _finish_reasons(output)
        summary.previous_response_id = summary.previous_response_id or _text(
            output.get("previous_response_id")
        )
        summary.conversation_id = summary.conversation_id or _id(output.get("conversation"))
    summary.model = summary.model or summary.model_requested


def _model_of_events(output: Mapping[str, Any]) -> str | None:
    """The model that any event of another endpoint's stream names, at its top."""
    events = output.get("events")
    models = [_text(event.get("model")) for event in events] if isinstance(events, list) else []
    return next((model for model in models if model), None)


def _finish_reasons(output: Mapping[str, Any]) -> list[str]:
    """`finish_reason` of every choice; of a response its status, or why it is incomplete."""
    choices = output.get("choices")
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, Mapping)]
        return [reason for reason in reasons if isinstance(reason, str)]
    status = output.get("status")
    if output.get("object") == "response" and isinstance(status, str):
        details = output.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return [reason if isinstance(reason, str) else status]
    return []


def _read_usage(summary: Summary, answer: Opened, response: Response) -> None:
    found = _usage(summary, answer)
    if found is None and answer.tail:
        found, model = usages.from_tail(answer.tail)
        summary.model = model or summary.model
    if found is not None and found.is_zero and (_has_output(summary.output) or summary.endpoint == "jobs"):
        summary.usage_missing = "the reported usage is zero, which cannot be"
    elif found is not None:
        summary.usage = found
    else:
        summary.usage_missing = _why_missing(summary, answer, response)


def _usage(summary: Summary, answer: Opened) -> Usage | None:
    if answer.events is not None:
        return _usage_of_events(summary, answer.events)
    output = summary.output
    return usages.read(output.get("usage")) if isinstance(output, Mapping) else None


def _usage_of_events(summary: Summary, events: list[Json]) -> Usage | None:
    """The last usage counts: earlier ones are partial sums. Images alone are billed one by one."""
    found: Usage | None = None
    for event in events:
        usage = _usage_of_event(event)
        if usage is not None:
            found = usages.add(found, usage) if summary.endpoint == "images" else usage
    return found


def _usage_of_event(event: Json) -> Usage | None:
    for holder in (event, event.get("response"), event.get("x_groq")):
        if isinstance(holder, Mapping) and (usage := usages.read(holder.get("usage"))) is not None:
            return usage
    return None


def _has_output(output: Any) -> bool:
    """Whether a chat, completion or response says anything: then a usage of zero is wrong."""
    if not isinstance(output, Mapping):
        return False
    if assemble_responses.texts(output):
        return True
    choices = output.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, Mapping):
            message = choice.get("message")
            if choice.get("text") or (isinstance(message, Mapping) and message.get("content")):
                return True
    return False


def _why_missing(summary: Summary, answer: Opened, response: Response) -> str:
    if response.status >= 400 or summary.error is not None:
        return "the call failed"
    if answer.undecodable:
        return "the body could not be decoded"
    if not summary.bills:
        return "the endpoint reports none"
    if Bills.LATER in summary.bills:
        return "the endpoint bills later, or elsewhere"
    if not response.complete:
        return "the answer broke off"
    if answer.events is not None and summary.endpoint in ("chat", "completions"):
        return "the stream was not asked for usage (stream_options.include_usage)"
    return "the answer reports none"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _id(value: object) -> str | None:
    """An id, given as such or as an object that has one."""
    return _text(value.get("id")) if isinstance(value, Mapping) else _text(value)
