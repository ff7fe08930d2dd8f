"""What an exchange was about: endpoint, models, usage, outcome, and the answer as one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from addons.openai import endpoints, errors, streams
from addons.openai.binary import without_binary
from addons.openai.body import Opened, header, open_body
from addons.openai.hosted_tools import hosted_tools
from addons.openai.messages import ApiError, Request, Response, Summary
from addons.openai.model_of import model_in
from addons.openai.objects import accounts, kinds
from addons.openai.reported import CODES, read_usage


def summarize(request: Request, response: Response | None) -> Summary:
    """Read an exchange, however it ended. Never raises for what is in the bodies.

    `response` is None where none came. Works on any host's OpenAI-shaped traffic, in any content coding,
    and on bodies that break off anywhere.
    """
    asked = open_body(request)
    upgrade = bool(header(request.headers, "upgrade"))
    endpoint = endpoints.guess(request.method, request.path, upgrade=upgrade)
    summary = Summary(endpoint.name, endpoint.bills, endpoint.counted, request=_shown(asked))
    summary.truncated += [f"request: {reason}" for reason in asked.truncated]
    summary.model_requested = model_in(request, endpoint, asked.form or asked.value).model
    _read_request(summary, asked.value)
    if response is None:
        summary.model = _model(summary, request)
        summary.usage_missing_code, summary.usage_missing = "no_answer", CODES["no_answer"]
        return summary
    answer = open_body(response)
    summary.truncated += [f"response: {reason}" for reason in answer.truncated]
    if not response.complete:
        summary.truncated.append("response: it broke off")
    summary.stream = answer.events is not None
    summary.output = _assembled(summary.endpoint, answer)
    summary.error = _error(answer, response.status)
    _read_answer(summary, summary.output, response)
    summary.model = _model(summary, request)
    summary.api_version = next(iter(parse_qs(request.query).get("api-version", [])), None) or (
        header(response.headers, "openai-version") or None
    )
    summary.usage, missing = read_usage(summary, answer, response)
    if missing is not None:
        summary.usage_missing_code, summary.usage_missing = missing.code, missing.text
    _settle_account(summary, request, response)
    if summary.usage_of is None or summary.usage is not None:
        summary.hosted_tools = hosted_tools(summary.endpoint, summary.model, summary.output)
    summary.output = without_binary(summary.output)
    return summary


def _settle_account(summary: Summary, request: Request, response: Response) -> None:
    """Tell the usage of an object that others may show again from the call's own."""
    shown = (
        None
        if response.status >= 400
        else accounts.shown_object(request.method, request.path, summary.request, summary.output)
    )
    if shown is None:
        return
    starts = accounts.is_queued(request.method, request.path, summary.output)
    summary.queued = starts and response.complete
    if shown.kind not in accounts.DEFERRED:
        seen = "unbilled" if shown.kind == kinds.FILE else "counted"  # what a file quotes is no bill
        code = seen if summary.usage is not None else None
        summary.usage_elsewhere = code is not None
    elif accounts.is_over(summary.output):
        summary.usage_of = (shown.kind, shown.id)
        return
    else:
        code = "later" if request.method.upper() == "POST" else "unbilled"
        summary.usage = None  # not the whole
    if code is not None and summary.error is None:
        summary.usage_missing_code, summary.usage_missing = code, CODES[code]
    summary.counted = False


def _shown(opened: Opened) -> Any:
    return opened.text if opened.value is None else opened.value


def _read_request(summary: Summary, body: Any) -> None:
    if not isinstance(body, Mapping):
        return
    summary.stream = body.get("stream") in (True, "true")  # a form has only text
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
    return streams.whole(endpoint, answer.events)


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
        summary.conversation_id = (
            summary.conversation_id or _id(output.get("conversation")) or _text(output.get("thread_id"))
        )


def _model(summary: Summary, request: Request) -> str | None:
    """The model that answered, or was asked for; of an Azure deployment the one that it is known to be."""
    asked = summary.model_requested or ""
    known = request.azure.model(asked) if request.azure else None
    # Azure's Responses echo the deployment's name, and its embeddings a name that no list knows.
    says_nothing = summary.endpoint == "embeddings" or (summary.model or asked).lower() == asked.lower()
    return known if known and says_nothing else summary.model or asked or None


def _model_of_events(output: Mapping[str, Any]) -> str | None:
    """The model that any event of another endpoint's stream names, at its top."""
    events = output.get("events")
    models = [_text(event.get("model")) for event in events] if isinstance(events, list) else []
    return next((model for model in models if model), None)


def _finish_reasons(output: Mapping[str, Any]) -> list[str]:
    """`finish_reason` of every choice; of a response or run its status, or why it is incomplete."""
    choices = output.get("choices")
    if isinstance(choices, list):
        reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, Mapping)]
        return [reason for reason in reasons if isinstance(reason, str)]
    status = output.get("status")
    if output.get("object") in ("response", "thread.run") and isinstance(status, str):
        details = output.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return [reason if isinstance(reason, str) else status]
    return []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _id(value: object) -> str | None:
    """An id, given as such or as an object that has one."""
    return _text(value.get("id")) if isinstance(value, Mapping) else _text(value)
