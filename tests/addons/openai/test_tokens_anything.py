"""Counting bodies of any shape: nothing raises, nothing takes long."""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.openai import tokens
from addons.openai.counting.tally import Approximate, Missing
from tests.addons.openai.counted import GPT5, HI, O_SERIES, OLD, WEATHER, chat
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    *("messages", "role", "content", "type", "text", "tools", "function", "functions", "name", "parameters"),
    *(
        "properties",
        "$ref",
        "required",
        "enum",
        "anyOf",
        "items",
        "default",
        "description",
        "tool_calls",
        "arguments",
    ),
    *("tool_choice", "input", "output", "instructions", "format", "schema", "response_format", "json_schema"),
    *(
        "choices",
        "message",
        "finish_reason",
        "refusal",
        "audio",
        "image_url",
        "url",
        "input_audio",
        "data",
        "prompt",
    ),
    *("function_call", "custom", "call_id", "tool_call_id", "id", "status", "n", "best_of", "echo", "suffix"),
]
WORDS = [
    *(
        "user",
        "assistant",
        "system",
        "tool",
        "function",
        "json_schema",
        "function_call",
        "reasoning",
        "message",
    ),
    *(
        "array",
        "object",
        "string",
        "required",
        "none",
        "#",
        "#/properties",
        "data:image/png;base64,iVBORw0KGgo=",
    ),
    *(
        "input_image",
        "input_audio",
        "refusal",
        "custom_tool_call",
        "custom_tool_call_output",
        "completed",
        "stop",
    ),
]
SHAPED = st.recursive(
    st.sampled_from(WORDS) | st.sampled_from([None, True, 7, -1, 0.5, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)
ENDPOINTS = ["chat", "responses", "completions", "embeddings", "other"]
MODELS = [OLD, O_SERIES, GPT5, "gpt-4-0613", "gpt-5.6", None, "", "o99999", "gpt-" + "9" * 50, "ft:"]


@settings(max_examples=500)
@given(st.sampled_from(ENDPOINTS), st.sampled_from(MODELS), JSON | SHAPED, JSON | SHAPED)
def test_no_body_raises(endpoint: str, model: str | None, request: Any, answer: Any) -> None:
    found = tokens.count(endpoint, model, request, answer)
    for figure in (found.input_tokens, found.output_tokens):
        assert figure is None or figure >= 0
    assert set(found.missing) <= set(get_args(Missing))
    assert set(found.approximate) <= set(get_args(Approximate))
    assert found.complete is not bool(found.missing)
    json.dumps(found.as_dict())


@settings(max_examples=300)
@given(st.sampled_from([OLD, O_SERIES, GPT5]), st.lists(SHAPED, max_size=3), st.lists(SHAPED, max_size=2))
def test_no_conversation_raises(model: str, items: list[Any], functions: list[Any]) -> None:
    """The places that the code reads, filled with what it may meet."""
    tools = [{"type": "function", "function": one, "name": "f", "parameters": one} for one in functions]
    messages = [{"role": "user", "content": "Hi"}, *items]
    counted = tokens.count("chat", model, {"messages": messages, "tools": tools}, {"choices": items})
    assert counted.input_tokens is not None
    assert counted.input_tokens >= 7
    counted = tokens.count("responses", model, {"input": messages, "tools": tools}, {"output": items})
    assert counted.input_tokens is not None
    assert counted.input_tokens >= 7


def nested(depth: int, key: str) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {key: value}
    return value


RECURSIVE = {"properties": {f"p{at}": {"$ref": "#"} for at in range(50)}}
EXPENSIVE: dict[str, dict[str, Any]] = {
    "letters": {"messages": [{"role": "user", "content": "x" * 1_000_000}]},
    "blanks": {"messages": [{"role": "user", "content": " " * 20_000_000}]},
    "messages": {"messages": HI * 50_000},
    "deep schema": {
        "messages": HI,
        "response_format": {"type": "json_schema", "json_schema": {"schema": nested(20_000, "items")}},
    },
    "deep tool": {
        "messages": HI,
        "functions": [{"name": "f", "parameters": {"properties": nested(20_000, "items")}}],
    },
    "recursive tools": {"messages": HI, "functions": [{"name": "f", "parameters": RECURSIVE}] * 1000},
    "many tools": {"messages": HI, "functions": [WEATHER] * 50_000},
}


@pytest.mark.parametrize("body", EXPENSIVE.values(), ids=EXPENSIVE)
def test_what_would_take_long_is_bounded(body: dict[str, Any]) -> None:
    """Seconds at most; the limit only tells them from minutes."""
    started = time.monotonic()
    found = tokens.count("chat", OLD, body, chat())
    assert time.monotonic() - started < 60
    assert found.input_tokens is not None
    assert found.input_tokens > 8


def test_what_was_too_large_is_estimated_and_says_so() -> None:
    body = {"messages": HI, "functions": [WEATHER] * 50_000}
    found = tokens.count("chat", OLD, body, chat())
    assert found.approximate == ["too_large"]
    assert found.input_tokens is not None
    assert found.input_tokens > 50_000 * 10
