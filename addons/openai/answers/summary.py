"""Summarize an exchange: endpoint, models, usage, outcome, and the answer as one object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from addons.openai import endpoints
from addons.openai.answers import endings, errors, streams
from addons.openai.answers.first_token import first_content
from addons.openai.asked_tier import asked_tier
from addons.openai.completion_window import STANDARD, window_tier
from addons.openai.confidential import without_secrets
from addons.openai.endpoint import Assemble, Bills, Endpoint
from addons.openai.http.binary import without_binary
from addons.openai.http.body import Opened, header, open_body
from addons.openai.http.messages import ApiError, Request, Response, Summary
from addons.openai.objects import accounts, kinds
from addons.openai.requested_model import model_in
from addons.openai.usage.missing import CODES
from addons.openai.usage.reported import read_usage

ROUTER = re.compile(r"model-router", re.IGNORECASE)


def summarize(request: Request, response: Response | None) -> Summary:
    """Read an exchange, however it ended. Never raises for what is in the bodies.

    `response` is None where none came. Works on any host's OpenAI-shaped traffic, in any content coding,
    and on bodies that break off anywhere.
    """
    asked = open_body(request)
    upgrade = request.method == "GET" and header(request.headers, "upgrade").lower() == "websocket"
    endpoint = endpoints.guess(request.method, request.path, upgrade=upgrade)
    summary = Summary(endpoint.name, endpoint.counted, endpoint.usage.text_is_output, request=_shown(asked))
    summary.truncated += [f"request: {reason}" for reason in asked.truncated]
    summary.model_requested = model_in(request, endpoint, asked.form or asked.value).model
    _read_request(summary, asked.value)
    if response is None:
        summary.model = _model(endpoint, summary, request)
        summary.usage_missing_code, summary.usage_missing = "no_answer", CODES["no_answer"]
        return summary
    summary.first_content = first_content(response, response.chunks)
    answer = open_body(response)
    summary.truncated += [f"response: {reason}" for reason in answer.truncated]
    finished = endings.is_finished(answer, asked.value)
    if finished:
        response = replace(response, complete=True)
    summary.complete = response.complete
    summary.stream = answer.events is not None
    summary.output = _assembled(endpoint.stream.assemble, answer)
    summary.ended = finished or _ended(summary, request, answer)
    summary.error = _error(endpoint, answer, response)
    if not response.complete:
        summary.truncated.append("response: it broke off")
    elif summary.ended is False and summary.error is None:
        summary.truncated.append("response: the stream ended before its answer did")
    _read_answer(summary, summary.output, response)
    summary.model = _model(endpoint, summary, request)
    summary.api_version = next(iter(parse_qs(request.query).get("api-version", [])), None) or (
        header(response.headers, "openai-version") or None
    )
    summary.usage, missing = read_usage(endpoint, summary, answer, response, asked.form)
    if missing is not None:
        summary.usage_missing_code, summary.usage_missing = missing.code, missing.text
    _settle_account(summary, request, response)
    if summary.usage_of is None or summary.usage is not None:
        summary.hosted_tools = endpoint.hosted_tools(summary.model, summary.output)
        if _is_routed(summary, request) and summary.usage is not None:
            summary.hosted_tools["model_router_calls"] = 1
    summary.output = without_binary(summary.output)
    if endpoint.secret:
        summary.request, summary.output = without_secrets(summary.request), without_secrets(summary.output)
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
        seen = {kinds.FILE: "unbilled", kinds.AGENT_SESSION: "later"}.get(shown.kind, "counted")
        code = seen if summary.usage is not None else None
        summary.usage_elsewhere = code is not None
    elif accounts.is_over(summary.output) and (shown.kind != kinds.BATCH or _tells_bill(summary)):
        summary.usage_of = (shown.kind, shown.id)
        summary.service_tier = "batch" if shown.kind == kinds.BATCH else summary.service_tier
        return
    else:
        later = request.method.upper() == "POST" or shown.kind == kinds.BATCH
        code = "later" if later else "unbilled"
        summary.usage = None  # not the whole
    if code is not None and summary.error is None:
        summary.usage_missing_code, summary.usage_missing = code, CODES[code]
    summary.counted = False


def _tells_bill(summary: Summary) -> bool:
    """Tell whether a finished batch tells its bill; an older one leaves that to the lines of its output."""
    return summary.usage is not None and summary.model is not None


def _shown(opened: Opened) -> Any:
    return opened.text if opened.value is None else opened.value


def _read_request(summary: Summary, body: Any) -> None:
    if not isinstance(body, Mapping):
        return
    summary.stream = body.get("stream") in (True, "true")  # a form has only text
    summary.service_tier_requested = asked_tier(body)
    summary.user = _text(body.get("user"))
    summary.safety_identifier = _text(body.get("safety_identifier"))
    summary.previous_response_id = _text(body.get("previous_response_id"))
    summary.conversation_id = _id(body.get("conversation"))
    if isinstance(metadata := body.get("metadata"), Mapping):
        summary.metadata = dict(metadata)


def _assembled(mute: Assemble | None, answer: Opened) -> Any:
    """Give the answer as the object that a call without streaming returns."""
    if answer.events is None:
        value = answer.value
        if isinstance(value, Mapping) and isinstance(value.get("response"), Mapping):
            kind = value.get("type")
            if isinstance(kind, str) and kind.startswith("response."):
                return value["response"]  # a lone event of a stream, sent as JSON
        return _shown(answer)
    return streams.whole(answer.events, mute)


def _ended(summary: Summary, request: Request, answer: Opened) -> bool | None:
    """Tell whether a stream's answer is over; None where it is no stream, or goes on without the call."""
    ended = endings.has_ended(answer, summary.output)
    shown = accounts.shown_object(request.method, request.path, summary.request, summary.output)
    goes_on = shown is not None and shown.kind in accounts.DEFERRED
    return None if ended is False and goes_on else ended


def _error(endpoint: Endpoint, answer: Opened, response: Response) -> ApiError | None:
    if _is_unreadable(endpoint, answer, response):
        return errors.of_text(answer.text or "")
    if answer.events is None:
        found = errors.of_body(_shown(answer), response.status)
        if found is None and _wants_answer(endpoint, response) and isinstance(answer.value, Mapping):
            found = errors.of_no_answer(answer.value)
        return found
    told = [error for event in answer.events if (error := errors.of_event(event)) is not None]
    # `error` says more than the `response.failed` that follows it.
    return told[0] if told else None


def _is_unreadable(endpoint: Endpoint, answer: Opened, response: Response) -> bool:
    """Tell whether an answer with status 200 is no JSON, though its endpoint answers with nothing else."""
    if response.status < 400 and Bills.SECONDS in endpoint.bills and errors.is_page(answer.text or ""):
        return True
    if not _wants_answer(endpoint, response):
        return False
    if answer.undecoded:
        return False
    if answer.skipped:  # a long answer is read as it passes, if it is JSON or a stream at all
        return answer.value is None and answer.events is None and not _begins_json(answer.text or "")
    if answer.events is not None:
        return not answer.events and answer.unparsed > 0
    return answer.value is None and bool(response.body.strip())


def _begins_json(written: str) -> bool:
    return written.lstrip("\ufeff \t\r\n").startswith(("{", "["))


def _wants_answer(endpoint: Endpoint, response: Response) -> bool:
    """Tell whether the call went well, as its status tells, so that JSON with an answer is to come."""
    return response.status < 400 and endpoint.answers_json and response.complete


def _read_answer(summary: Summary, output: Any, response: Response) -> None:
    summary.model = header(response.headers, "openai-model") or None
    if isinstance(output, Mapping):
        summary.model = _text(output.get("model")) or summary.model or _model_of_events(output)
        summary.service_tier = _text(output.get("service_tier"))
        if summary.service_tier in STANDARD:
            summary.service_tier = window_tier(output, summary.request) or summary.service_tier
        summary.response_id = _text(output.get("id"))
        summary.finish_reasons = _finish_reasons(output)
        summary.previous_response_id = summary.previous_response_id or _text(
            output.get("previous_response_id")
        )
        summary.conversation_id = (
            summary.conversation_id or _id(output.get("conversation")) or _text(output.get("thread_id"))
        )


def _model(endpoint: Endpoint, summary: Summary, request: Request) -> str | None:
    """Name the model that answered, or was asked for; of an Azure deployment the one it is known to be."""
    asked = summary.model_requested or ""
    known = request.provider.model(asked)
    # Azure's Responses echo the deployment's name, and its embeddings a name that no list knows.
    says_nothing = not endpoint.names_model or (summary.model or asked).lower() == asked.lower()
    return known if known and says_nothing else summary.model or asked or None


def _is_routed(summary: Summary, request: Request) -> bool:
    """Tell whether Azure chose the model: its deployment is a router, by its name or as configured."""
    asked = summary.model_requested or ""
    names = (asked, request.provider.model(asked) or "")
    return request.provider.has_deployments and any(ROUTER.match(name) for name in names)


def _model_of_events(output: Mapping[str, Any]) -> str | None:
    """Give the model that any event of another endpoint's stream names, at its top."""
    events = output.get("events")
    models = [_text(event.get("model")) for event in events] if isinstance(events, list) else []
    return next((model for model in models if model), None)


def _finish_reasons(output: Mapping[str, Any]) -> list[str]:
    """Give `finish_reason` of every choice; of a response or run its status, or why it is incomplete."""
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
    """Give an id, given as such or as an object that has one."""
    return _text(value.get("id")) if isinstance(value, Mapping) else _text(value)
