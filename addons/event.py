"""A finished call becomes its event (schema 1, see docs/event.md)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from addons.cost import BUNDLED, Prices, cost_of, cost_of_parts
from addons.exchange import Exchange
from addons.headers import RECORDED_REQUEST_HEADERS, client_info, rate_limit
from addons.identity import identity
from addons.openai import Request, Response, Summary, first_content, reported, summarize
from addons.openai import usage as usages
from addons.openai.batch_output import BatchSum
from addons.openai.model_of import is_allowed_answer
from addons.openai.tokens import count
from addons.openai.users import users_in
from store.event import Event, blank_event
from store.models import Grant

logger = logging.getLogger(__name__)

LEFT_UNANSWERED = ("client_aborted", "timeout", "shutdown")


def event_of(exchange: Exchange, *, capture: str = "all", prices: Prices = BUNDLED) -> Event:
    """The event of `exchange`, in outline where it can't be read. Never raises."""
    try:
        return build_event(exchange, capture=capture, prices=prices)
    except Exception as error:
        return outline(exchange, error)


def outline(exchange: Exchange, error: Exception) -> Event:
    """The event without what `error` kept from being read; says so in the log."""
    # With a trace, unless a client caused this by nesting a body a thousand levels deep.
    trace = None if isinstance(error, RecursionError) else error
    logger.error("llmproxy: call %s is recorded in outline only (%r)", exchange.id, error, exc_info=trace)
    return minimal_event(exchange)


def build_event(exchange: Exchange, *, capture: str, prices: Prices = BUNDLED) -> Event:
    """The event of `exchange`. `capture` says which bodies it keeps: all, request, response or none."""
    request, response = _messages(exchange)
    summary = summarize(request, response)
    event = minimal_event(exchange)
    if exchange.outcome == "ok" and (summary.error or (exchange.status or 0) >= 400):
        event["outcome"] = "http_error"
    elif exchange.outcome == "ok" and summary.queued:
        event["outcome"] = "queued"
    if summary.error and exchange.outcome != "refused":
        event["error"] = {
            "type": summary.error.type,
            "code": summary.error.code,
            "message": summary.error.message,
        }
    event.update(
        time_to_first_token_ms=_first_token(exchange, response),
        upstream_request_id=None
        if exchange.outcome == "refused"
        else exchange.response_header("x-request-id"),
        endpoint=summary.endpoint,
        stream=summary.stream,
        api_version=summary.api_version,
        **_identity(exchange, summary),
        model=summary.model,
        model_requested=summary.model_requested,
        model_mismatch=_mismatch(exchange, summary),
        service_tier=summary.service_tier,
        finish_reasons=list(summary.finish_reasons),
        response_id=summary.response_id,
        previous_response_id=summary.previous_response_id,
        conversation_id=summary.conversation_id,
        hosted_tools=summary.hosted_tools,
        rate_limit=rate_limit(exchange.response_headers),
    )
    _add_usage(event, exchange, summary, prices)
    if exchange.batch is not None and event["outcome"] == "ok":
        _add_batch(event, *exchange.batch, prices)
    _add_content(event, exchange, summary, capture)
    return scrub(event, exchange)


def minimal_event(exchange: Exchange) -> Event:
    """What is known without looking into the bodies."""
    error = None
    if exchange.error_code or exchange.error_message:
        error = {"type": exchange.outcome, "code": exchange.error_code, "message": exchange.error_message}
    return {
        **blank_event(),
        "event_id": exchange.id,
        "timestamp": _rfc3339(exchange.started_at),
        "duration_ms": _ms(exchange.ended - exchange.started),
        "time_to_first_byte_ms": _since(exchange, exchange.first_byte_at),
        "outcome": exchange.outcome,
        "drained": exchange.drained,
        "status": exchange.status,
        "error": error,
        "request_id": exchange.request_id or exchange.id,
        "method": exchange.method,
        "host": exchange.host,
        "path": exchange.url.partition("?")[0],
        "endpoint": exchange.endpoint,
        "include_usage": "added" if exchange.usage_added else None,
        "client": client_info(exchange.client_address, exchange.request_headers),
        **attribution(exchange.grant),
        **_identity(exchange),
        "request_metadata": exchange.request_metadata.pairs,
        "usage_missing": reported.CODES["unread"],
        "usage_missing_code": "unread",
    }


def attribution(grant: Grant | None) -> Event:
    """Whose call it is; nulls for a call without a known token."""
    return {
        "project_id": grant.project.id if grant else None,
        "project_name": grant.project.name if grant else None,
        "token_id": grant.token.id if grant else None,
        "token_metadata": grant.metadata if grant else {},
    }


def _messages(exchange: Exchange) -> tuple[Request, Response | None]:
    body = exchange.request_body
    body.settle()
    request = Request(
        exchange.method,
        exchange.url,
        exchange.request_headers,
        body.data,
        skipped=body.skipped,
        tail=body.tail,
        undecoded=body.undecoded,
        form=exchange.request_form,
        azure=exchange.azure,
    )
    if exchange.status is None or exchange.response_body is None:
        return request, None
    body = exchange.response_body
    body.settle()
    headers = exchange.response_headers
    if body.decoded:
        headers = [(name, value) for name, value in headers if name.lower() != "content-encoding"]
    response = Response(
        exchange.status,
        headers,
        body.data,
        complete=exchange.outcome == "ok" or exchange.drained,
        skipped=body.skipped,
        tail=body.tail,
        undecoded=body.undecoded,
    )
    return request, response


def _first_token(exchange: Exchange, response: Response | None) -> int | None:
    body = exchange.response_body
    if response is None or body is None or not body.chunks:
        return None
    index = first_content(response, body.chunks)
    return None if index is None else _since(exchange, body.times[index])


def _mismatch(exchange: Exchange, summary: Summary) -> str | None:
    """Why the model that answered is not one that was allowed; the request's own was checked by the gate."""
    model = summary.model
    if exchange.outcome == "refused" or model is None or is_allowed_answer(model, exchange.models):
        return None
    if exchange.azure and exchange.azure.model(summary.model_requested) is None:
        return None  # the deployment was allowed by its own name
    logger.warning("llmproxy: call %s was answered by %r, which is not allowed", exchange.id, model)
    return f"{model!r} answered, which is not among the allowed models"


def _identity(exchange: Exchange, summary: Summary | None = None) -> Event:
    users = users_in(summary.safety_identifier, summary.user, summary.metadata) if summary is not None else {}
    return identity(exchange.grant, exchange.request_metadata.pairs, users)


def _add_usage(event: Event, exchange: Exchange, summary: Summary, prices: Prices) -> None:
    """Reported beats counted beats estimated; where nothing can be said, null and the reason."""
    usage: Event | None = summary.usage.as_dict() if summary.usage and not summary.usage_elsewhere else None
    if usage is None and _may_have_been_billed(event, exchange, summary):
        usage = _counted(exchange, summary)
    event["usage"] = usage
    if summary.usage_of is not None:
        kind, id_ = summary.usage_of
        event["usage_of"] = {"kind": kind, "id": id_, "asked_by": event["token_id"]}
    event["usage_missing"] = summary.usage_missing
    event["usage_missing_code"] = summary.usage_missing_code
    event["cost"] = cost_of(event, prices)


def _add_batch(event: Event, id_: str, found: BatchSum, prices: Prices) -> None:
    """The bill of a batch, told by the lines of its output file."""
    if found.problem is not None:
        event["truncated"] = [*event["truncated"], f"response: the batch is not counted: {found.problem}"]
        return
    usage = found.usage
    event["model"], event["service_tier"] = found.model, "batch"
    event["usage_of"] = {"kind": "batch", "id": id_, "asked_by": event["token_id"]}
    event["usage_of"] |= {"lines": found.lines, "failed": found.failed, "unread": found.unread}
    if usage is None:
        return
    event["usage"] = usage.as_dict()
    event["usage_missing"] = event["usage_missing_code"] = None
    read = ((part.model, usages.read(part.usage)) for part in found.parts)
    event["cost"] = cost_of_parts(event, [(model, one.as_dict()) for model, one in read if one], prices)


def _may_have_been_billed(event: Event, exchange: Exchange, summary: Summary) -> bool:
    """Whether upstream did work for this call: it answered, without an error, or after text.

    Or it had the whole request, and would have answered had somebody waited for it.
    """
    if event["outcome"] == "refused":
        return False
    if exchange.status is None:
        return summary.counted and exchange.sent and event["outcome"] in LEFT_UNANSWERED
    if exchange.status >= 400:
        return False
    code = summary.usage_missing_code
    if code not in reported.COUNTABLE:
        return False
    return code not in reported.ONLY_WITH_TEXT or reported.says_something(summary.output)


def _counted(exchange: Exchange, summary: Summary) -> Event | None:
    """Tokens counted from the bodies; None where nothing in them can be."""
    if summary.counted:
        counted = count(summary.endpoint, summary.model, summary.request, summary.output)
    elif said := reported.said_beside(summary.output):
        counted = count("completions", summary.model, None, {"choices": [{"text": said}]})
    else:
        return None
    if exchange.status is None:
        counted.output_tokens = None  # not the nothing that came
    known = counted.input_tokens is not None or counted.output_tokens is not None
    return counted.as_dict() if known else None


def _add_content(event: Event, exchange: Exchange, summary: Summary, capture: str) -> None:
    if capture in ("all", "request"):
        event["request"] = {
            "headers": {
                name.lower(): value
                for name, value in exchange.request_headers
                if name.lower() in RECORDED_REQUEST_HEADERS
            },
            "body": summary.request,
        }
    if capture in ("all", "response"):
        event["response"] = {"body": summary.output}
    dropped: Event = {}
    if exchange.request_body.skipped:
        dropped["request_bytes"] = exchange.request_body.skipped
    if exchange.response_body and exchange.response_body.skipped:
        dropped["response_bytes"] = exchange.response_body.skipped
    if exchange.request_metadata.dropped:
        dropped["request_metadata"] = list(exchange.request_metadata.dropped)
    event["truncated"] = [*summary.truncated, *exchange.request_metadata.truncated]
    event["dropped"] = dropped


def scrub(event: Event, exchange: Exchange) -> Event:
    """Take every credential of this call out of its event, wherever it may have got in."""
    text = json.dumps(event, ensure_ascii=False)
    secrets = {secret.reveal() for secret in exchange.secrets}
    found = [json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets if len(secret) >= 8]
    if not any(secret in text for secret in found):
        return event
    for secret in found:
        text = text.replace(secret, "[redacted]")
    scrubbed: Event = json.loads(text)
    return scrubbed


def _since(exchange: Exchange, moment: float | None) -> int | None:
    return None if moment is None else _ms(moment - exchange.started)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
