"""Calls of tools, as the model wrote them."""

from __future__ import annotations

from typing import Any

from addons.openai.counting.calls import Call, of_item, of_message, written


def test_arguments_are_text_also_where_a_server_gives_the_object() -> None:
    assert written('{"a":1}') == '{"a":1}'
    assert written({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'
    assert written([1]) == "[1]"
    assert written(None) == written(7) == ""


def test_arguments_that_are_nested_too_deeply_count_as_nothing() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert written(deep) == ""


def test_calls_of_a_message() -> None:
    found = of_message(
        {
            "tool_calls": [
                {"id": "1", "function": {"name": "look", "arguments": {"at": 1}}},
                {"id": "2", "custom": {"name": "write", "input": "some text"}},
                "no call",
                {"id": 3},
            ],
            "function_call": {"name": "old", "arguments": "{}"},
        }
    )
    assert found == [
        Call("look", '{"at":1}', "1"),
        Call("write", "some text", "2", custom=True),
        Call("", ""),
        Call("old", "{}", legacy=True),
    ]


def test_calls_of_items() -> None:
    assert of_item({"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}) == Call(
        "f", "{}", "c"
    )
    assert of_item({"type": "custom_tool_call", "name": "f", "input": "x", "call_id": "c"}) == Call(
        "f", "x", "c", custom=True
    )
