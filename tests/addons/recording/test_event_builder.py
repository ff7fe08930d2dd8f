from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from addons.flow.capture import Body
from addons.recording.event_builder import minimal_event
from addons.recording.exchange import Exchange
from dispatch.message import message
from dispatch.privacy import Privacy
from store.core.event_fields import to_fields
from store.core.secret import Secret
from store.spool import Record
from tests.events import fields_of

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def exchange(**changes: Any) -> Exchange:
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    values: dict[str, Any] = {
        "id": "0190-call",
        "method": "POST",
        "host": "api.openai.com",
        "url": "/v1/chat/completions?trace=1",
        "endpoint": "chat",
        "started_at": datetime(2026, 5, 1, 12, 0, 0, 123456, UTC),
        "started": 100.0,
        "ended": 101.5,
        "outcome": "ok",
        "request_headers": [("content-type", "application/json"), ("x-internal-secret", "do-not-record")],
        "request_body": Body(json.dumps(request).encode()),
        "status": 200,
        "response_headers": [("content-type", "application/json"), ("x-request-id", "req_up")],
        "response_body": Body(json.dumps(CHAT).encode()),
        "first_byte_at": 100.25,
        **changes,
    }
    return Exchange(**values)


def with_request(**fields: Any) -> Exchange:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], **fields}
    return exchange(request_body=Body(json.dumps(body).encode()))


def test_the_tier_that_was_asked_for_is_said_and_a_kept_answer_costs_nothing_for_sure() -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "service_tier": "scale"}
    sent = {"request_body": Body(json.dumps(body).encode())}
    event = fields_of(exchange(**sent))
    assert (event["service_tier_requested"], event["cost"]["reason"]) == ("scale", "lower_bound")
    assert "'scale'" in event["cost"]["missing"]
    shown = message(Privacy().of(Record(b"", event, "s", 0)).value)
    assert (shown["service_tier_requested"], shown["cost"]["reason"]) == ("scale", "lower_bound")
    kept = fields_of(exchange(**sent, cache="hit", kept_from="other"))
    assert kept["cost"] == {"usd": "0", "price_source": "cache"}


@pytest.mark.parametrize(
    ("header", "shown"),
    [([], None), ([("x-stainless-retry-count", "0")], 0), ([("X-Stainless-Retry-Count", "2")], 2)],
)
def test_retries_can_be_told_from_calls(header: list[tuple[str, str]], shown: int | None) -> None:
    """In the event, and in the message that backends get."""
    event = fields_of(exchange(request_headers=header))
    assert event.get("retry") == shown
    assert message(Privacy().of(Record(b"", event, "s", 0)).value).get("retry") == shown


def test_times_and_names() -> None:
    event = fields_of(exchange())
    assert event["timestamp"] == "2026-05-01T12:00:00.123Z"
    assert (event["duration_ms"], event["time_to_first_byte_ms"]) == (1500, 250)
    assert event["path"] == "/v1/chat/completions"
    assert event["upstream_request_id"] == "req_up"
    assert "do-not-record" not in json.dumps(event)


def test_event_is_one_line_of_json() -> None:
    line = json.dumps(fields_of(exchange()))
    assert "\n" not in line
    assert json.loads(line)["schema"] == 1


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"safety_identifier": "s", "user": "u"}, {"id": "s", "source": "safety_identifier"}),
        ({"user": "u", "metadata": {"user_id": "m"}}, {"id": "u", "source": "user"}),
        ({"metadata": {"user_id": "m"}}, {"id": "m", "source": "metadata.user_id"}),
        ({}, None),
    ],
)
def test_user_of_a_request(fields: dict[str, Any], user: dict[str, str] | None) -> None:
    assert fields_of(with_request(**fields), capture="none")["user"] == user


def test_refused_call_has_no_usage_and_no_upstream() -> None:
    body = Body(
        b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'
    )
    event = fields_of(
        exchange(outcome="refused", status=401, error_code="invalid_api_key", response_body=body),
        capture="all",
    )
    assert (event["outcome"], event["status"]) == ("refused", 401)
    assert event["error"] == {"type": "refused", "code": "invalid_api_key", "message": "no"}
    assert (event["usage"], event["cost"], event["upstream_request_id"]) == (None, None, None)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_error_answers_are_http_errors(status: int) -> None:
    body = Body(b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}')
    event = fields_of(exchange(status=status, response_body=body))
    assert event["outcome"] == "http_error"
    assert event["error"] == {"type": "t", "code": "c", "message": "no"}
    assert event["usage"] is None


def test_missing_usage_is_counted_and_says_so() -> None:
    silent = {name: value for name, value in CHAT.items() if name != "usage"}
    event = fields_of(exchange(response_body=Body(json.dumps(silent).encode())))
    assert event["usage"]["source"] in ("tokenizer", "estimate")
    assert event["usage"]["input_tokens"] > 0
    assert event["usage"]["output_tokens"] > 0


def test_secrets_are_scrubbed_wherever_they_are() -> None:
    key = 'sk-real-"quoted"-0123456789'
    leaking = {**CHAT, "choices": [{"index": 0, "message": {"role": "assistant", "content": f"it is {key}"}}]}
    event = fields_of(
        exchange(response_body=Body(json.dumps(leaking).encode()), secrets=[Secret(key)]), capture="all"
    )
    assert key not in json.dumps(event, ensure_ascii=False)
    assert json.dumps(key)[1:-1] not in json.dumps(event)
    assert event["response"]["body"]["choices"][0]["message"]["content"] == "it is [redacted]"


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"{", b"[1,2]", b"null", b'"text"', b"{}" * 1000])
def test_any_bodies_make_an_event(body: bytes) -> None:
    event = fields_of(exchange(request_body=Body(body), response_body=Body(body)))
    assert event["event_id"] == "0190-call"
    assert set(to_fields(minimal_event(exchange()))) <= set(event)
    json.dumps(event, allow_nan=False)


@pytest.mark.parametrize("outcome", ["client_aborted", "timeout", "shutdown"])
def test_call_that_was_left_before_its_answer_began(outcome: str) -> None:
    """Upstream had it all, and may bill it: what was asked is counted; of the answer nothing is known."""
    event = fields_of(exchange(status=None, response_body=None, outcome=outcome, sent=True))
    usage = event["usage"]
    assert usage["input_tokens"] > 0
    assert (usage["output_tokens"], usage["total_tokens"], usage["source"]) == (None, None, "estimate")
    assert "cut" in usage["missing"]
    assert event["usage_missing_code"] == "no_answer"


@pytest.mark.parametrize(("outcome", "sent"), [("client_aborted", False), ("upstream_aborted", True)])
def test_call_that_upstream_never_had(outcome: str, sent: bool) -> None:
    event = fields_of(exchange(status=None, response_body=None, outcome=outcome, sent=sent))
    assert event["usage"] is None
    assert event["usage_missing_code"] == "no_answer"


def test_an_agents_session_is_in_event_and_message() -> None:
    said = {"session_id": "s1", "turn_id": "u1"}
    event = fields_of(with_request(client_metadata=said))
    assert event["session"] == {"id": "s1", "turn": "u1"}
    assert message(Privacy().of(Record(b"", event, "s", 0)).value)["session"] == event["session"]
    assert "session" not in fields_of(exchange()), "a call without one has no such field"
