"""The short way says what the long way says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.message import ADDED, CONTENT, FLAT, encode, message
from dispatch.outline import outline
from dispatch.privacy import Guarded, Outlined, Privacy
from dispatch.sinks.cloudwatch.sink import CloudWatchSink
from dispatch.sinks.cloudwatch.streams import StreamNames
from store.spool import Record
from store.spool.segment import encode as spooled
from tests.dispatch.conftest import usage_event

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["message", "code", "ip", "user_agent", "sdk", "raw", "usd", "other"])
OBJECTS = st.dictionaries(MEMBERS, VALUES, max_size=5)
NAMES = st.sampled_from([*FLAT, *ADDED, *CONTENT, "failed", "cost_usd", "unknown"])


def long_way(line: bytes) -> dict[str, Any]:
    record = Privacy().of(Record(line, None, "s", 0))
    shown: dict[str, Any] = json.loads(encode(message(record.value)))
    return shown


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, VALUES | OBJECTS, max_size=12), st.sampled_from(["ok", "timeout", None]))
def test_any_event(fields: dict[str, Any], outcome: str | None) -> None:
    line = spooled({**fields, "type": "llm_proxy_usage", "outcome": outcome})[:-1]
    found = outline(line)
    expected = long_way(line)
    if found is None:
        assert b"\\ud" in line.lower(), "only half a surrogate pair takes the long way"
        return
    assert list(json.loads(found.text).items()) == list(expected.items()), "in the same order"
    for name in ("seq", "writer", "project_id", "timestamp"):
        assert found.get(name) == expected.get(name)


def test_an_event_as_the_proxy_writes_it() -> None:
    line = spooled(usage_event(7))[:-1]
    found = outline(line)
    assert found is not None
    assert json.loads(found.text) == long_way(line)
    assert "SECRET" not in found.text


@pytest.mark.parametrize(
    "line",
    [b'{"type":"llm_proxy_writer"}', b"{}", b"[]", b"{", b'{"type":"llm_proxy_usage","model":"\\ud800"}'],
)
def test_what_takes_the_long_way(line: bytes) -> None:
    assert outline(line) is None


def test_a_sink_that_parses_sees_no_more_than_the_outline() -> None:
    record = Outlined(Record(spooled(usage_event(7))[:-1], None, "s", 0))
    assert "SECRET" not in json.dumps(record.value)
    assert record.value["error"] == {"type": "t", "code": "c"}


def test_cloudwatch_plans_the_same_either_way() -> None:
    """Calls, a writer's closing record, an old event, one that is too long; over several streams."""
    lines = [spooled({**usage_event(n), "writer": "w", "seq": n})[:-1] for n in range(300)]
    closing = {"type": "llm_proxy_writer", "writer": "w", "last_seq": 300}
    lines.append(spooled({**closing, "timestamp": usage_event(0)["timestamp"]})[:-1])
    lines.append(spooled(usage_event(1, timestamp="2001-01-01T00:00:00.000Z"))[:-1])
    lines.append(spooled(usage_event(1, rate_limit={"x": "y" * 300_000}))[:-1])
    sink = CloudWatchSink("group", StreamNames("s-{project_id}", 3), region="eu-central-1")
    records = [Record(line, None, "s", number) for number, line in enumerate(lines)]
    short = Guarded(sink, Privacy()).plan(records)
    sink._plain = False
    long = Guarded(sink, Privacy()).plan(records)

    def shown(plan: Any) -> Any:
        sent = [
            (parcel.lane, [(event.timestamp, json.loads(event.message), event.size) for event in part])
            for parcel in plan.parcels
            for part in parcel.content.left
        ]
        return sent, [(letter.record.offset, letter.reason) for letter in plan.rejected]

    assert shown(short) == shown(long)
    assert len(short.rejected) == 1
