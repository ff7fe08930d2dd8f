"""JSON of any length, in pieces of any size: its structure stays, long texts are cut."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http import json_scan
from addons.openai.http.json_scan import CutText, JsonScan

TEXTS = st.text('a"\\é🙂{}[],:\n', max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=25,
)


def scan(written: bytes, size: int, keep: int = 2**20) -> JsonScan:
    found = JsonScan(keep)
    for at in range(0, len(written), size):
        found.feed(written[at : at + size])
    return found


@given(
    st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=3), VALUES),
    st.integers(1, 60),
    st.booleans(),
)
def test_what_is_short_is_read_as_it_is(value: Any, size: int, spaces: bool) -> None:
    found = scan(json.dumps(value, indent=1 if spaces else None, ensure_ascii=spaces).encode(), size)
    assert (found.value, found.whole, found.broken, found.dropped) == (value, True, False, 0)


@given(VALUES, st.integers(1, 60))
def test_what_is_passed_over_leaves_the_rest(value: Any, size: int) -> None:
    """Containers below the second level, once there are too many values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scan, "MOST_VALUES", 0)
        whole = {
            "before": 1,
            "items": [{"id": "a", "held": {"x": value}, "lost": 2}, {"id": "b"}],
            "after": "z",
        }
        found = scan(json.dumps(whole).encode(), size)
    assert found.whole
    assert (found.value["before"], found.value["after"]) == (1, "z")
    assert [item["id"] for item in found.value["items"]] == ["a", "b"]
    assert found.dropped > 0


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_long_texts_are_cut(size: int) -> None:
    value = {
        "a": 'x"\\' * 2000,
        "id": "short",
        "b": ["y" * 5000],
        "c": "é" * 3000,
        "usage": {"total_tokens": 3},
    }
    written = json.dumps(value).encode()
    found = scan(written, size, keep=4000)
    assert found.value["id"] == "short"
    assert found.value["usage"] == {"total_tokens": 3}
    for whole, cut in ((value["a"], found.value["a"]), (value["b"][0], found.value["b"][0])):  # type: ignore[index]
        assert isinstance(cut, CutText)
        assert str(whole).startswith(cut)
        assert cut.length == len(json.dumps(whole)) - 2
    assert len(json.dumps(found.value)) < 5000
    assert found.dropped > 15_000


@pytest.mark.parametrize(
    "written", [b"}", b"{1}", b"[nonsense]", b"]]", b'{"a": tru}', b'{"a": }', b'{"a"}', b'{"b": 1, "a"}']
)
def test_what_is_no_json(written: bytes) -> None:
    assert scan(written, 3).broken or not scan(written, 3).whole


@given(st.binary(max_size=60), st.integers(1, 9))
def test_anything(written: bytes, size: int) -> None:
    found = scan(b'{"a": ' + written, size)
    assert found.value is None or found.value.keys() >= {"a"} or not found.whole


def test_depth_is_bounded() -> None:
    found = scan(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 4096)
    assert found.whole
    json.dumps(found.value)


def test_items_without_end_are_passed_over() -> None:
    items = b",".join([b'{"type": "message", "id": "m"}'] * 200_000)
    found = scan(b'{"output": [' + items + b'], "model": "m", "usage": {"total_tokens": 3}}', 2**16)
    assert (found.whole, found.value["model"], found.value["usage"]) == (True, "m", {"total_tokens": 3})
    assert 15_000 < len(found.value["output"]) < 20_000


@pytest.mark.parametrize(
    "middle",
    [b'"' + b"A" * 20_000_000 + b'"', b'"' + b'He said \\"hi\\".\\n' * 1_000_000 + b'"'],
    ids=["base64", "prose"],
)
def test_speed(middle: bytes) -> None:
    """Processor time, since test machines are shared; a fifth of what is promised, for slow ones."""
    written = b'{"output": [{"result": ' + middle + b'}], "usage": {"total_tokens": 3}}'
    started = time.process_time()
    found = scan(written, 2**16)
    seconds = time.process_time() - started
    assert found.value["usage"] == {"total_tokens": 3}
    assert len(written) / 1e6 / seconds > 20
