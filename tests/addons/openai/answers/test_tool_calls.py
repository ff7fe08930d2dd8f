"""Fragments of calls, as servers send them: numbered or not, once named or always."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.answers.tool_calls import ToolCalls


def joined(fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    calls = ToolCalls()
    for fragment in fragments:
        calls.add(fragment)
    return calls.calls()


def function(name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "function": {**({"name": name} if name else {}), "arguments": arguments}}


def call(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "function": {"name": name, "arguments": arguments}}


PIECES = st.lists(st.text("ab{}", min_size=1, max_size=3), min_size=1, max_size=5)


@given(st.lists(PIECES, min_size=1, max_size=4), st.data())
def test_numbered_calls_in_any_order(all_pieces: list[list[str]], draw: st.DataObject) -> None:
    """As OpenAI sends them: the first fragment names the call, the others have only its index."""
    queues = [
        [
            function(f"f{at}", pieces[0], index=at, id=f"c{at}"),
            *(function(None, p, index=at) for p in pieces[1:]),
        ]
        for at, pieces in enumerate(all_pieces)
    ]
    fragments = []
    while any(queues):
        queue = draw.draw(st.sampled_from([queue for queue in queues if queue]))
        fragments.append(queue.pop(0))
    assert joined(fragments) == [
        call(f"f{at}", "".join(pieces), id=f"c{at}") for at, pieces in enumerate(all_pieces)
    ]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        ([], []),
        # All numbered 0, each whole (Gemini).
        ([function("f", "{}", index=0, id="a"), function("g", "{}", index=0, id="b")],
         [call("f", "{}", id="a"), call("g", "{}", id="b")]),
        # The same id, name and index with each fragment.
        ([function("f", '{"a"', index=0, id="a"), function("f", ":1}", index=0, id="a")],
         [call("f", '{"a":1}', id="a")]),
        # A new id with each fragment, but no name: still the same call.
        ([function("f", '{"a"', index=0, id="a"), function(None, ":1}", index=0, id="b")],
         [{"id": "b", "function": {"name": "f", "arguments": '{"a":1}'}}]),
        # The name in pieces, or growing.
        ([function("get_", "", index=0), function("weather", "{}", index=0)], [call("get_weather", "{}")]),
        ([function("get", "", index=0), function("get_weather", "{}", index=0)], [call("get_weather", "{}")]),
        # Without numbers: by id, and by order.
        ([function("f", '{"a"', id="a"), function("g", "", id="b"), function(None, ":1}", id="a")],
         [call("f", '{"a":1}', id="a"), call("g", "", id="b")]),
        ([function("f", '{"a":'), function(None, "1}"), function("f", "{}")],
         [call("f", '{"a":1}'), call("f", "{}")]),
    ],
)  # fmt: skip
def test_what_servers_send(fragments: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    assert joined(fragments) == calls


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2)
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["index", "id", "type", "function", "custom"]),
            JUNK | st.dictionaries(st.sampled_from(["name", "arguments", "input"]), JUNK),
        )
    )
)
def test_nothing_raises(fragments: list[dict[str, Any]]) -> None:
    json.dumps(joined(fragments))
