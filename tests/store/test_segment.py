"""One record as a line: the same bytes by the fast way and by the slow one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.core.event import AuditRecord
from store.spool import segment
from store.spool.segment import Line, encode_object, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(object),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)
PLACES: list[Callable[[float], Any]] = [
    lambda number: [number],
    lambda number: {"a": number},
    lambda number: [1, number],
    lambda number: {"a": [-number, 2]},
]


@given(st.dictionaries(st.text(max_size=4), JSON))
def test_records_of_any_content(record: dict[str, Any]) -> None:
    assert encode_object(record) == segment._encode_slowly(record)


@given(st.floats() | st.sampled_from([1e-05, 1e16, 1e22, 9.999e15, 0.0001, 5e-324]), st.sampled_from(PLACES))
def test_numbers_of_any_size(number: float, place: Callable[[float], Any]) -> None:
    record = {"x": place(number)}
    assert encode_object(record) == segment._encode_slowly(record)


@pytest.mark.parametrize("text", [str(uuid.UUID(int=1)), "if x < 1e-05: return 0.00001", '[1e16,{"a":1e-7}]'])
def test_texts_that_hold_numbers_are_written_the_fast_way(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Code that a prompt quotes has them, and the slow way takes ten times as long."""
    record = {"text": text, "plain": [0.5, -0.0, 1e15, 10**30]}
    expected = segment._encode_slowly(record)
    monkeypatch.delattr(segment, "_encode_slowly")
    assert encode_object(record) == expected


@pytest.mark.parametrize("record", [{}, {"event_id": "a", "x": "\ud800"}, AuditRecord(event_id="a")])
def test_a_number_is_put_behind_the_fields(record: Any) -> None:
    line = Line.of(record)
    fields = parse(line.data)
    assert fields is not None
    written = b"".join(line.numbered("w", 3))
    assert parse(written) == {**fields, "writer": "w", "seq": 3}
    assert list(parse(written) or {})[-2:] == ["writer", "seq"]


@pytest.mark.parametrize("line", [b"", b"null", b"[1]", b"{", b'{"a":' * 100_000, b"\xff", b"7"])
def test_what_is_no_object_is_none(line: bytes) -> None:
    assert parse(line) is None
