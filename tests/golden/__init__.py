"""The lines of the spool and the messages that leave the machine, byte for byte.

``events.jsonl`` has the line of every scenario of :mod:`tests.scenarios`, of every other record, and of calls
that are awkward to write down; ``messages.jsonl`` has what a backend is sent of each. The `request_id` of a
call names its scenario. After a wanted change of either, look at the difference of::

    python -m tests.golden
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from addons.flow.capture import Body
from addons.flow.request_metadata import RequestMetadata
from addons.openai.requested_model import Allowed
from addons.openai.usage import usage as usages
from addons.openai.usage.batch_output import BatchSum, Part
from addons.recording.event_builder import event_of, minimal_event
from addons.recording.exchange import Exchange, SessionEnd
from addons.recording.repricing import Repricer
from addons.recording.session_record import session_record
from addons.recording.shared_usage import attributed, without_usage
from dispatch.message import encode as encode_message
from dispatch.message import message
from store.core.codes import UsageMissing, UsageSource
from store.core.event import (
    AlertRecord,
    AuditRecord,
    BaseRecord,
    BudgetRecord,
    Cost,
    DroppedRecord,
    Error,
    Fields,
    Usage,
    UsageOf,
)
from store.core.event_fields import to_fields
from store.core.secret import Secret
from store.keys.project_keys import StoredKey
from store.objects.table import Claim, Owner
from store.spool.closing import died
from store.spool.segment import Line, encode
from store.spool.writer import closing_record
from store.tokens.models import Grant, Project, Token
from tests.scenarios import SCENARIOS, Scenario

FOLDER = Path(__file__).parent
EVENTS, MESSAGES = FOLDER / "events.jsonl", FOLDER / "messages.jsonl"
WRITER = "0197a3c0-0000-7000-8000-000000000001"
NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, UTC)
KEY = 'sk-real-"quoted"-0123456789'


def grant() -> Grant:
    return Grant(
        Project("p1", "acme", StoredKey("env:KEY"), True, NOW, NOW, metadata={"team": "search"}),
        Token("t1", "sk", "p1", True, NOW, None, None, 0, None, {"user_id": "ada"}),
    )


def exchange(name: str, **changes: Any) -> Exchange:
    """A chat of which `changes` say what is special."""
    scenario = SCENARIOS["chat"]
    values: dict[str, Any] = {
        "id": name,
        "method": scenario.request.method,
        "host": "api.openai.com",
        "url": scenario.request.url,
        "endpoint": "chat",
        "started_at": NOW,
        "started": 100.0,
        "ended": 101.5,
        "outcome": "ok",
        "request_headers": [*scenario.request.headers, ("user-agent", "OpenAI/Python 2.8.1")],
        "request_body": Body(scenario.request.body),
        "status": 200,
        "response_headers": [("content-type", "application/json"), ("x-request-id", "req_up")],
        "response_body": Body(scenario.response.body),
        "first_byte_at": 100.25,
        "client_address": "127.0.0.1",
        **changes,
    }
    return Exchange(**values)


def of_scenario(scenario: Scenario) -> Exchange:
    request, response, url = scenario.request, scenario.response, urlsplit(scenario.url)
    return exchange(
        scenario.name,
        method=request.method,
        host=url.hostname,
        url=url._replace(scheme="", netloc="").geturl(),
        endpoint="other",
        request_headers=request.headers,
        request_body=Body(request.body),
        status=response.status,
        response_headers=[*response.headers, ("x-ratelimit-reset-tokens", "6m0.25s")],
        response_body=Body(response.body, chunks=[response.body], times=[100.5]),
        outcome="ok" if response.complete else "upstream_aborted",
        sent=True,
    )


def answered(content: Any, **more: Any) -> Body:
    """A chat's answer that says `content`."""
    answer = json.loads(SCENARIOS["chat"].response.body)
    answer["choices"][0]["message"]["content"] = content
    return Body(json.dumps(answer | more).encode())


def asked(**more: Any) -> Body:
    return Body(json.dumps(json.loads(SCENARIOS["chat"].request.body) | more).encode())


def calls() -> Iterator[BaseRecord | Fields]:
    """Events of calls."""
    for scenario in SCENARIOS.values():
        yield event_of(of_scenario(scenario))
    yield event_of(exchange("capture-none"), capture="none")
    yield event_of(exchange("capture-request"), capture="request")
    yield event_of(exchange("empty", request_body=Body(b""), response_body=Body(b"")))
    no = {"status": 401, "response_body": Body(b'{"error":{"message":"no","code":"invalid_api_key"}}')}
    yield event_of(exchange("refused", outcome="refused", error_code="invalid_api_key", **no))
    gone = {"status": None, "response_body": None, "response_headers": [], "first_byte_at": None}
    for outcome in ("client_aborted", "upstream_aborted", "timeout", "shutdown"):
        yield event_of(
            exchange(f"gone-{outcome}", outcome=outcome, sent=True, error_message="nothing came", **gone)
        )
    yield event_of(exchange("budget-ended", outcome="budget_ended", drained=True, usage_added=True))
    said = RequestMetadata({"app_user_id": "bob", "run": "7"}, ("colour",), ("request_metadata.run: cut",))
    attributed_call = exchange("attributed", grant=grant(), request_metadata=said)
    yield event_of(attributed_call)
    yield event_of(exchange("mismatch", models=(Allowed(("o3",), "the token's"),)))
    yield event_of(exchange("cut", response_body=Body(b'{"id": "x"', skipped=900, tail=b'"usage": 1}')))
    yield event_of(exchange("secret", response_body=answered(f"it is {KEY}"), secrets=[Secret(KEY)]))
    yield from awkward()
    parts = [Part("o3", usages.Usage(9, 3, 12), 9), Part("none", usages.Usage(1, 0, 1))]
    batch = BatchSum(lines=4, failed=1, unread=1, parts=parts)
    file = {
        "url": "/v1/files/file-1/content",
        "method": "GET",
        "response_headers": [("content-type", "application/octet-stream"), ("x-request-id", "req_up")],
        "response_body": Body(b"{}\n{}\n"),
    }
    yield event_of(exchange("batch", batch=("batch_1", batch), **file))
    shown = event_of(of_scenario(SCENARIOS["responses-get"]))
    shown = replace(shown, request_id="shown", usage_of=UsageOf("response", "resp_1"))
    yield without_usage(shown, UsageMissing.COUNTED)
    yield attributed(shown, Claim("resp_1", "response", Owner("p1", "t1"), grant(), "made-by"))
    yield minimal_event(exchange("outline", grant=grant()))


def awkward() -> Iterator[BaseRecord | Fields]:
    """What JSON can say in several ways, or not at all."""
    numbers = [1e-05, 1e16, -3.1e-07, 5e-324, 1.0, -0.0, 2**70, 0.1, 1e15, 12345678.9]
    yield event_of(exchange("numbers", request_body=asked(logit_bias={"1": -1e-05}, numbers=numbers)))
    yield event_of(
        exchange("texts", response_body=answered('\x00\x1f\x7f\u2028\b\f\n"\\/<é😀 [1e5] 0.00001'))
    )
    yield event_of(exchange("half-a-pair", response_body=answered("\ud83d alone")))
    yield event_of(exchange("not-a-number", request_body=Body(b'{"model": "o3", "x": [NaN, -Infinity]}')))
    yield event_of(exchange("no-object", request_body=Body(b"[1, 2]"), response_body=Body(b"\x00\xff")))


def others() -> Iterator[BaseRecord | Fields]:
    """Records that are no calls."""
    ended = SessionEnd(1000, "client", "session_expired", "gpt-realtime", 4, 9, 1, 2, 1, 0, {"seconds": 1.5})
    yield session_record(exchange("session", outcome="shutdown", grant=grant(), session_end=ended), ended)
    at = "2026-05-01T12:00:00.123Z"
    yield BudgetRecord(
        event_id="budget",
        timestamp=at,
        reached=80,
        side="token",
        limit="usd/day",
        allowed=10.0,
        used=8.5,
        percent=85.0,
        project_id="p1",
        project_name="acme",
        token_id="t1",
    )
    yield AlertRecord(
        event_id="alert",
        timestamp=at,
        alert="dispatcher_failing",
        state="firing",
        reason="sink_failing",
        since="2026-05-01T11:59:00.000Z",
        summary="cloudwatch fails (60 s behind) (web1:/spool)",
        error=Error(message="AccessDenied"),
        subject="cloudwatch",
        place="web1:/spool",
    )
    yield AuditRecord(event_id="audit", timestamp=at, head="7:abc")
    yield DroppedRecord(
        event_id="dropped", timestamp=at, since="2026-05-01T11:00:00.000Z", dropped=3, reason="spool_full"
    )
    opened = {
        "event_id": "died",
        "timestamp": "2026-05-01T12:00:00.123Z",
        "request_id": "died",
        "model": "o3",
        "usage": to_fields(Usage(12, complete=False, missing=["cut"], source=UsageSource.ESTIMATE)),
        "of_a_newer_version": [1],
    }
    yield died(opened, lambda _: Cost("0.1", "llm_prices/ours"))
    yield died({"event_id": "died-session", "closes_as": "llm_proxy_session", "close_code": None}, None)
    unpriced = to_fields(event_of(exchange("repriced", grant=grant())))
    unpriced |= {"cost": {"usd": None, "price_source": "unknown"}, "of_a_newer_version": [1]}
    unpriced["usage"] = {**unpriced["usage"], "of_a_newer_version": {"x": 1}}
    for repriced in Repricer().reprice([unpriced]):
        yield replace(repriced.record, timestamp="2026-05-02T00:00:00.000Z")


def lines() -> Iterator[bytes]:
    """All of them, as a writer numbers them. The release of the prices is not among what is compared."""
    release = f"genai-prices/{version('genai-prices')}".encode()
    number = 0
    for number, record in enumerate([*calls(), *others()], 1):
        line = b"".join(Line.of(record).numbered(WRITER, number))
        yield line.replace(release, b"genai-prices/RELEASE")
    closing = closing_record(WRITER, number, opened=number, unrecorded=0)
    yield encode(replace(closing, event_id="closing", timestamp="2026-05-02T00:00:00.000Z"))


def messages(spooled: bytes) -> Iterator[bytes]:
    """What is sent of the lines of a spool, without content."""
    for line in spooled.splitlines():
        yield encode_message(message(json.loads(line))).encode() + b"\n"
