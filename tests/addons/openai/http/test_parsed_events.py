"""Events of a stream, parsed once for all who read them."""

from __future__ import annotations

import json

import pytest

from addons.openai.http import parsed_events
from addons.openai.http.parsed_events import ParsedEvents


def test_what_one_reader_has_parsed_the_last_one_takes() -> None:
    events = ParsedEvents()
    read = events.read('{"a": 1}')
    assert read == {"a": 1}
    assert events.take('{"a": 1}') is read
    assert events.take('{"a": 1}') is not read


@pytest.mark.parametrize("data", ["[1]", "1", "{", "[DONE]", "", "[" * 100_000])
def test_what_is_no_object(data: str) -> None:
    events = ParsedEvents()
    assert events.read(data) is None
    assert events.take(data) is None


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed_events, "ROOM", 20)
    events = ParsedEvents()
    first, second = json.dumps({"a": "x" * 5}), json.dumps({"b": "y" * 5})
    kept, passed = events.read(first), events.read(second)
    assert events.take(second) is not passed
    assert events.take(first) is kept
    assert events.read(second) is events.take(second), "the first one has made room"
