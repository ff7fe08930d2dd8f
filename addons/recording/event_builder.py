"""A finished call becomes its event (schema 1, see docs/event.md)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from msgspec import UNSET, UnsetType

from addons.flow.identity import identity
from addons.openai import Request, Response, Summary, summarize
from addons.openai.agent_session import AgentSession, session_in, session_of
from addons.openai.counting.counters import COMPLETIONS
from addons.openai.requested_model import is_allowed_answer
from addons.openai.tokens import Count, count, count_by
from addons.openai.usage import reported
from addons.openai.usage import usage as usages
from addons.openai.usage.batch_output import BatchSum
from addons.openai.usage.filled import filled
from addons.openai.usage.missing import CODES, COUNTABLE, ONLY_WITH_TEXT
from addons.openai.usage.reasoning import placed
from addons.openai.users import users_in
from addons.recording.cost import BUNDLED, Prices, cost_of, cost_of_parts
from addons.recording.exchange import Exchange
from addons.recording.headers import (
    RECORDED_REQUEST_HEADERS,
    client_info,
    rate_limit,
    retry_number,
    trace_parent,
)
from addons.recording.scrubbing import scrub
from store.core import event as event_fields
from store.core.codes import Outcome, UsageMissing
from store.core.event import Cost, Error, RecordedRequest, RecordedResponse, Saved, Usage, UsageEvent, UsageOf
from store.core.redaction import hide_tool_secrets
from store.core.times import rfc3339
from store.tokens.models import Grant

logger = logging.getLogger(__name__)

BROKEN_OFF = (Outcome.CLIENT_ABORTED, Outcome.UPSTREAM_ABORTED, Outcome.TIMEOUT, Outcome.SHUTDOWN)
"""Outcomes of calls whose connections ended before the body of the answer did."""
LEFT_UNANSWERED = (Outcome.CLIENT_ABORTED, Outcome.TIMEOUT, Outcome.SHUTDOWN)


def event_of(exchange: Exchange, *, capture: str = "all", prices: Prices = BUNDLED) -> UsageEvent:
    """Make the event of `exchange`, in outline where it can't be read. Never raises."""
    event, _ = written_event(exchange, capture=capture, prices=prices)
    return event


def written_event(
    exchange: Exchange, *, capture: str = "all", prices: Prices = BUNDLED
) -> tuple[UsageEvent, bytes]:
    """Make the event of `exchange`, and the line that it will be. Never raises."""
    try:
        return scrub(build_event(exchange, capture=capture, prices=prices), exchange.secrets)
    except Exception as error:
        return outline(exchange, error)


def outline(exchange: Exchange, error: Exception) -> tuple[UsageEvent, bytes]:
    """Make the event without what `error` kept from being read; say so in the log."""
    # With a trace, unless a client caused this by nesting a body a thousand levels deep.
    trace = None if isinstance(error, RecursionError) else error
    logger.error("llmproxy: call %s is recorded in outline only (%r)", exchange.id, error, exc_info=trace)
    return scrub(minimal_event(exchange), exchange.secrets)


def build_event(exchange: Exchange, *, capture: str, prices: Prices = BUNDLED) -> UsageEvent:
    """Make the event of `exchange`, not scrubbed yet.

    `capture`: the bodies that it keeps: all, request, response or none.
    """
    summary = exchange.summary or summary_of(exchange)
    if summary.complete and exchange.outcome in BROKEN_OFF and not exchange.left:
        # Whoever closed first: the last event had passed, so the call has ended as its answer says.
        exchange.outcome, exchange.error_message = "ok", None
    event = minimal_event(exchange)
    refused = event.outcome == Outcome.REFUSED
    if event.outcome == Outcome.OK:
        _add_outcome(event, exchange, summary)
    if summary.error:
        known = event.error if refused and event.error else summary.error
        event.error = Error(known.type, known.code, summary.error.message)
    event.time_to_first_token_ms = _first_token(exchange, summary)
    event.upstream_request_id = None if refused else exchange.response_header("x-request-id")
    event.endpoint = summary.endpoint
    event.stream = summary.stream
    event.api_version = summary.api_version
    users = users_in(summary.safety_identifier, summary.user, summary.metadata)
    event.user, event.user_claims = identity(exchange.grant, exchange.request_metadata.pairs, users)
    event.model = summary.model
    event.model_requested = summary.model_requested
    event.model_mismatch = _mismatch(exchange, summary)
    event.service_tier = summary.service_tier
    event.service_tier_requested = summary.service_tier_requested or UNSET
    event.finish_reasons = list(summary.finish_reasons)
    event.response_id = summary.response_id
    event.previous_response_id = summary.previous_response_id
    event.conversation_id = summary.conversation_id
    event.session = session_field(session_of(exchange.request_headers, session_in(summary.request)))
    event.hosted_tools = summary.hosted_tools
    event.rate_limit = rate_limit(exchange.response_headers)
    _add_usage(event, exchange, summary, prices)
    _add_cache(event, exchange)
    if exchange.batch is not None and event.outcome == Outcome.OK:
        _add_batch(event, *exchange.batch, prices)
    _add_content(event, exchange, summary, capture)
    return event


def _add_outcome(event: UsageEvent, exchange: Exchange, summary: Summary) -> None:
    """Say what became of a call whose answer came."""
    if summary.error or (exchange.status or 0) >= 400:
        event.outcome = Outcome.HTTP_ERROR
    elif summary.ended is False:
        event.outcome = Outcome.UPSTREAM_ABORTED
        event.error = Error(Outcome.UPSTREAM_ABORTED, None, "the stream ended before its answer did")
    elif summary.queued:
        event.outcome = Outcome.QUEUED


def minimal_event(exchange: Exchange) -> UsageEvent:
    """Make the event of what is known without looking into the bodies."""
    error = None
    if exchange.error_code or exchange.error_message:
        error = Error(exchange.outcome, exchange.error_code, exchange.error_message)
    user, claims = identity(exchange.grant, exchange.request_metadata.pairs, {})
    retry, parent = retry_number(exchange.request_headers), trace_parent(exchange.request_headers)
    return UsageEvent(
        session=session_field(session_of(exchange.request_headers)),
        retry=UNSET if retry is None else retry,
        traceparent=UNSET if parent is None else parent,
        event_id=exchange.id,
        timestamp=rfc3339(exchange.started_at),
        duration_ms=_ms(exchange.ended - exchange.started),
        time_to_first_byte_ms=_since(exchange, exchange.first_byte_at),
        outcome=Outcome(exchange.outcome),
        drained=exchange.drained,
        status=exchange.status,
        error=error,
        request_id=exchange.request_id or exchange.id,
        method=exchange.method,
        host=exchange.host,
        path=exchange.url.partition("?")[0],
        endpoint=exchange.endpoint,
        include_usage="added" if exchange.usage_added else None,
        client=client_info(exchange.client_address, exchange.request_headers),
        user=user,
        user_claims=claims,
        **attribution(exchange.grant),
        request_metadata=exchange.request_metadata.pairs,
        usage_missing=CODES[UsageMissing.UNREAD],
        usage_missing_code=UsageMissing.UNREAD,
    )


def session_field(session: AgentSession | None) -> event_fields.AgentSession | UnsetType:
    """Give an agent's session as the event has it: without what is not known."""
    if session is None:
        return UNSET
    said = {name: getattr(session, name) for name in ("thread", "turn", "source")}
    known = {name: text for name, text in said.items() if text is not None}
    return event_fields.AgentSession(session.id, **known)


def attribution(grant: Grant | None) -> dict[str, Any]:
    """Say whose call it is, as fields of its event; nulls for a call without a known token."""
    return {
        "project_id": grant.project.id if grant else None,
        "project_name": grant.project.name if grant else None,
        "token_id": grant.token.id if grant else None,
        "token_metadata": grant.metadata if grant else {},
    }


def summary_of(exchange: Exchange) -> Summary:
    """Read the bodies of `exchange`; takes as long as reading them."""
    return summarize(*_messages(exchange))


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
        scanned=body.scanned,
        value=exchange.request_value,
        has_few_values=exchange.request_has_few_values,
        form=exchange.request_form,
        provider=exchange.provider,
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
        scanned=body.scanned,
        chunks=body.chunks,
        parsed=body.parsed,
    )
    return request, response


def _first_token(exchange: Exchange, summary: Summary) -> int | None:
    if exchange.response_body is None or summary.first_content is None:
        return None
    return _since(exchange, exchange.response_body.times[summary.first_content])


def _mismatch(exchange: Exchange, summary: Summary) -> str | None:
    """Say why the model that answered is not an allowed one; the gate checked the request's own."""
    model = summary.model
    if exchange.outcome == "refused" or model is None or is_allowed_answer(model, exchange.models):
        return None
    if exchange.provider.hides_model(summary.model_requested):
        return None  # the deployment was allowed by its own name
    logger.warning("llmproxy: call %s was answered by %r, which is not allowed", exchange.id, model)
    return f"{model!r} answered, which is not among the allowed models"


def _add_usage(event: UsageEvent, exchange: Exchange, summary: Summary, prices: Prices) -> None:
    """Add the usage: reported beats counted beats estimated; where nothing is known, null and the reason."""
    if summary.usage is None or summary.usage_elsewhere:
        counted = _count(exchange, summary) if _may_have_been_billed(event, exchange, summary) else None
        event.usage = Usage(**counted.as_dict()) if counted else None
    else:
        counted = _count(exchange, summary) if summary.usage.unreported else None
        event.usage = Usage(**filled(placed(summary.usage, exchange.host, summary.model), counted))
    if summary.usage_of is not None:
        kind, id_ = summary.usage_of
        event.usage_of = UsageOf(kind, id_, event.token_id)
    code = None if summary.usage_missing_code is None else UsageMissing(summary.usage_missing_code)
    event.usage_missing, event.usage_missing_code = summary.usage_missing, code
    if code == UsageMissing.NOT_ASKED and exchange.usage_added:
        event.usage_missing_code = UsageMissing.NO_USAGE
        event.usage_missing = CODES[UsageMissing.NO_USAGE]
    event.cost = cost_of(event, prices)


def _add_cache(event: UsageEvent, exchange: Exchange) -> None:
    """Say what the cache had for the call; an answer from it has used nothing."""
    if exchange.cache is None:
        return
    event.cache = exchange.cache
    if exchange.kept_from is None:
        return
    usage, cost = event.usage or Usage(), event.cost or Cost()
    tokens = (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    event.saved = Saved(exchange.kept_from, *tokens, usd=cost.usd)
    event.usage, event.usage_of, event.cost = None, None, Cost("0", "cache")
    event.usage_missing, event.usage_missing_code = UsageMissing.CACHED.meaning, UsageMissing.CACHED
    event.upstream_request_id, event.rate_limit, event.hosted_tools = None, {}, {}


def _add_batch(event: UsageEvent, id_: str, found: BatchSum, prices: Prices) -> None:
    """Add the bill of a batch, told by the lines of its output file."""
    if found.problem is not None:
        event.truncated = [*event.truncated, f"response: the batch is not counted: {found.problem}"]
        return
    parts = found.parts
    if found.unread and parts:
        parts = [replace(parts[0], usage=parts[0].usage.lacking("lines")), *parts[1:]]
    usage = usages.total(part.usage for part in parts)
    event.model, event.service_tier = found.model, "batch"
    event.usage_of = UsageOf(
        "batch", id_, event.token_id, lines=found.lines, failed=found.failed, unread=found.unread
    )
    if usage is None:
        return
    event.usage = Usage(**usage.as_dict())
    event.usage_missing = event.usage_missing_code = None
    event.cost = cost_of_parts(event, [(part.model, Usage(**part.usage.as_dict())) for part in parts], prices)


def _may_have_been_billed(event: UsageEvent, exchange: Exchange, summary: Summary) -> bool:
    """Tell whether upstream did work for this call: it answered, without an error, or after text.

    Or it had the whole request, and would have answered had somebody waited for it.
    """
    if event.outcome == Outcome.REFUSED:
        return False
    if exchange.status is None:
        return summary.counted and exchange.sent and event.outcome in LEFT_UNANSWERED
    if exchange.status >= 400:
        return False
    code = summary.usage_missing_code
    if code not in COUNTABLE:
        return False
    return code not in ONLY_WITH_TEXT or reported.says_something(summary.output)


def _count(exchange: Exchange, summary: Summary) -> Count | None:
    """Give the tokens counted from the bodies; None where nothing in them can be."""
    if summary.counted:
        counted = count(summary.endpoint, summary.model, summary.request, summary.output)
    elif said := reported.said_beside(summary.output):
        whole = summary.text_is_output and summary.usage_missing_code == "no_usage"
        choice = {"text": said, "finish_reason": "stop" if whole else None}
        counted = count_by(COMPLETIONS, summary.model, None, {"choices": [choice]})
    else:
        return None
    if exchange.status is None:
        counted.output_tokens = None  # not the nothing that came
    if exchange.request_body.skipped:
        counted.lack("input_tokens", "request")
    if summary.error is not None or (exchange.response_body is not None and exchange.response_body.skipped):
        counted.lack("output_tokens", "cut")
    known = counted.input_tokens is not None or counted.output_tokens is not None
    return counted if known else None


def _add_content(event: UsageEvent, exchange: Exchange, summary: Summary, capture: str) -> None:
    if capture in ("all", "request"):
        headers = {
            lower: value
            for name, value in exchange.request_headers
            if (lower := name.lower()) in RECORDED_REQUEST_HEADERS
        }
        event.request = RecordedRequest(headers, hide_tool_secrets(summary.request))
    if capture in ("all", "response"):
        event.response = RecordedResponse(hide_tool_secrets(summary.output))
    if exchange.request_body.skipped:
        event.dropped["request_bytes"] = exchange.request_body.skipped
    if exchange.response_body and exchange.response_body.skipped:
        event.dropped["response_bytes"] = exchange.response_body.skipped
    if exchange.request_metadata.dropped:
        event.dropped["request_metadata"] = list(exchange.request_metadata.dropped)
    event.truncated = [*summary.truncated, *exchange.request_metadata.truncated]


def _since(exchange: Exchange, moment: float | None) -> int | None:
    return None if moment is None else _ms(moment - exchange.started)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
