from __future__ import annotations

import json

from dispatch.message import encode, message, without_content
from tests.dispatch.conftest import usage_event


def test_flat_shape() -> None:
    event = usage_event(7)
    shown = message(event)
    assert shown["type"] == "llm_proxy_usage"
    assert shown["run_id"] == shown["event_id"] == event["event_id"]
    assert shown["event"] == "finish"
    for name in (
        *("timestamp", "request_id", "path", "model", "project_id", "token_id", "status", "duration_ms"),
        *("user", "usage", "token_metadata", "cost", "outcome"),
    ):
        assert shown[name] == event[name]
    assert shown["error"] == {"type": "t", "code": "c"}
    assert shown["client"] == {"ip": "127.0.0.1", "sdk": "python/3.0"}


def test_no_content_unless_asked() -> None:
    event = usage_event(7, unknown_field="SECRET")
    assert "SECRET" not in encode(message(event))
    shown = message(event, include_content=True)
    assert (shown["request"], shown["response"]) == (event["request"], event["response"])
    assert shown["error"]["message"] == "SECRET error text"
    assert "unknown_field" not in shown
    cut = without_content(shown, "too long")
    assert "request" not in cut
    assert cut["truncated"] == ["too long"]


def test_closing_record_of_a_writer() -> None:
    record = {"type": "llm_proxy_writer", "event_id": "e", "writer": "w", "last_seq": 3, "timestamp": "t"}
    assert message({**record, "other": "SECRET"}) == record


def test_half_a_surrogate_pair() -> None:
    text = encode({"path": "/\ud800é"})
    assert text.encode()
    assert json.loads(text) == {"path": "/\ud800é"}
