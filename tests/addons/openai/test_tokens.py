"""Counting where the API reported nothing: every rule on a call made here, and its arithmetic.

The overheads were derived from recorded calls; `scripts/bench accuracy` compares with those.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.openai import summarize, tokens
from addons.openai.counting.tally import Approximate, Missing
from tests.addons.openai.counting.test_media import png, url, wav
from tests.scenarios import SCENARIOS
from tests.vocabularies import count as n
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()

HI = [{"role": "user", "content": "Hi"}]
SYSTEM = {"role": "system", "content": "Be kind."}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
BLOCK = """namespace functions {

// Get the weather
type get_weather = (_: { city: string }) => any;

} // namespace functions"""
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "number"}},
    "required": ["a"],
    "additionalProperties": False,
}
SHOWN = '{"type":"object","properties":{"a":{"type":"number"}}}'
ARGUMENTS = '{"city":"Oslo"}'
OLD, O_SERIES, GPT5 = "gpt-4o-mini", "o4-mini", "gpt-5-mini"


def chat(content: str | None = "Hello there", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": finish}]}


def response(*items: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"object": "response", "status": status, "output": list(items)}


def said(text: str = "Hello there") -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def chat_input(model: str, messages: list[Any], **body: Any) -> int | None:
    return tokens.count("chat", model, {"messages": messages, **body}, chat()).input_tokens


def responses_input(model: str, given: Any, **body: Any) -> int | None:
    return tokens.count("responses", model, {"input": given, **body}, response(said())).input_tokens


# --- what there is without tools


@pytest.mark.parametrize(
    ("model", "primer"), [("gpt-3.5-turbo-0125", 3), (OLD, 3), (O_SERIES, 2), (GPT5, 2), ("gpt-5.6", 2)]
)
def test_a_message(model: str, primer: int) -> None:
    assert (
        chat_input(model, HI)
        == responses_input(model, HI)
        == responses_input(model, "Hi")
        == primer + 3 + 1 + 1
    )


def test_gpt_4_0613_begins_cheaper_in_responses() -> None:
    assert (chat_input("gpt-4", HI), responses_input("gpt-4-0613", HI)) == (8, 7)


def test_a_name_costs_one_more_than_its_text() -> None:
    assert chat_input(OLD, [{**HI[0], "name": "ada"}]) == 8 + 1 + 1


@pytest.mark.parametrize(("model", "more"), [(OLD, 0), (O_SERIES, 0), (GPT5, 2)])
def test_an_earlier_answer(model: str, more: int) -> None:
    plain = chat_input(model, HI)
    assert plain is not None
    assert chat_input(model, [*HI, {"role": "assistant", "content": "Yes"}]) == plain + 3 + 1 + 1 + more


def test_parts_are_joined_with_nothing_between() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert chat_input(OLD, [{"role": "user", "content": parts}]) == 3 + 3 + 1 + n("Hello") == 8


def test_instructions_are_a_system_message() -> None:
    assert responses_input(OLD, "Hi", instructions="Be kind.") == chat_input(OLD, [SYSTEM, *HI])


def test_what_costs_nothing() -> None:
    body = {"n": 3, "stop": ["x"], "seed": 1, "logprobs": True, "response_format": {"type": "json_object"}}
    assert chat_input(OLD, HI, **body) == 8


def test_search_preview_models_are_seven_cheaper() -> None:
    assert chat_input("gpt-4o-search-preview-2025-03-11", HI) == 1


# --- tools


@pytest.mark.parametrize(("model", "alone", "with_system"), [(OLD, 9, 5), (O_SERIES, 10, 10), (GPT5, 91, 90)])
def test_tools_in_chat(model: str, alone: int, with_system: int) -> None:
    plain = chat_input(model, HI)
    assert plain is not None
    tools = [{"type": "function", "function": WEATHER}]
    assert (
        chat_input(model, HI, tools=tools)
        == chat_input(model, HI, functions=[WEATHER])
        == plain + n(BLOCK) + alone
    )
    system = 3 + 1 + n("Be kind.\n")
    assert chat_input(model, [SYSTEM, *HI], tools=tools) == plain + system + n(BLOCK) + with_system


@pytest.mark.parametrize(("model", "constant"), [(OLD, 3), (O_SERIES, 6), (GPT5, 9)])
def test_tools_in_responses(model: str, constant: int) -> None:
    plain = responses_input(model, "Hi")
    assert plain is not None
    assert (
        responses_input(model, "Hi", tools=[{"type": "function", **WEATHER}]) == plain + n(BLOCK) + constant
    )


def test_tool_choice_none() -> None:
    free, none = (chat_input(OLD, HI, functions=[WEATHER], tool_choice=choice) for choice in ("auto", "none"))
    assert free is not None
    assert none == free + 1
    assert chat_input(GPT5, HI, functions=[WEATHER], tool_choice="none") == chat_input(
        GPT5, HI, functions=[WEATHER]
    )


def test_a_call_that_is_forced_is_named_in_the_input() -> None:
    body = {"messages": HI, "tools": [{"type": "function", "function": WEATHER}]}
    forced = {**body, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    answer = chat(None, tool_calls=[{"function": {"name": "get_weather", "arguments": ARGUMENTS}}])
    free, named = (tokens.count("chat", OLD, request, answer) for request in (body, forced))
    assert free.input_tokens is not None
    assert named.input_tokens == free.input_tokens + n("functions.get_weather") + 6
    assert (free.output_tokens, named.output_tokens) == (
        n("functions.get_weather") + n(ARGUMENTS) + 6,
        n(ARGUMENTS),
    )
    assert (named.source, named.approximate, named.complete) == ("estimate", ["tool_choice"], True)


CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}


def pair() -> int:
    """A call with its result, without the constant."""
    return 2 * n("functions.get_weather") + n(ARGUMENTS) + n("warm")


@pytest.mark.parametrize(
    ("model", "constant"), [(OLD, 8), ("gpt-4o", 11), (O_SERIES, 8), (GPT5, 17), ("gpt-5.6", 20)]
)
def test_an_earlier_call_in_chat(model: str, constant: int) -> None:
    plain = chat_input(model, HI)
    assert plain is not None
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "warm"}
    assert chat_input(model, [*HI, asked, result]) == plain + pair() + constant


def test_a_legacy_result_costs_three_more() -> None:
    asked = {"role": "assistant", "function_call": CALL["function"]}
    result = {"role": "function", "name": "get_weather", "content": "warm"}
    assert chat_input(OLD, [*HI, asked, result]) == 8 + pair() + 8 + 3


@pytest.mark.parametrize(
    ("model", "constant"), [(OLD, 9), ("gpt-4o", 12), (O_SERIES, 15), (GPT5, 15), ("gpt-5.6", 18)]
)
def test_an_earlier_call_in_responses(model: str, constant: int) -> None:
    plain = responses_input(model, HI)
    assert plain is not None
    asked = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": ARGUMENTS}
    result = {"type": "function_call_output", "call_id": "c1", "output": "warm"}
    assert responses_input(model, [*HI, asked, result]) == plain + pair() + constant


# --- structured output


def test_a_schema_in_chat() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert chat_input(OLD, HI, response_format=schema) == 8 + n(SHOWN) + 12 + 2 * n("answer")
    found = tokens.count("chat", OLD, {"messages": [SYSTEM, *HI], "response_format": schema}, chat())
    assert found.approximate == ["structured_output"]


@pytest.mark.parametrize(("model", "constant"), [(OLD, 7), (O_SERIES, 6), (GPT5, 6)])
def test_a_schema_in_responses(model: str, constant: int) -> None:
    plain = responses_input(model, "Hi")
    assert plain is not None
    schema = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    assert responses_input(model, "Hi", text=schema) == plain + n(SHOWN) + n("answer") + constant


# --- images and sounds


def test_an_image_and_a_sound_in_view() -> None:
    image = {"type": "image_url", "image_url": {"url": url(png(512, 512))}}
    sound = {"type": "input_audio", "input_audio": {"data": wav(2.0), "format": "wav"}}
    text = {"type": "text", "text": "Hi"}
    found = tokens.count(
        "chat", OLD, {"messages": [{"role": "user", "content": [text, image, sound]}]}, chat()
    )
    assert (found.input_tokens, found.source) == (8 + 2833 + 5667 + 20 + 4, "tokenizer")


# --- the answer


@pytest.mark.parametrize(("model", "end"), [(OLD, 0), (GPT5, 9), ("gpt-5.2", 3)])
def test_a_text_in_chat(model: str, end: int) -> None:
    body = {"messages": HI, "reasoning_effort": "none"}
    found = tokens.count("chat", model, body, chat())
    assert (found.output_tokens, found.source) == (2 + end, "tokenizer")


def test_choices_are_added_up_and_a_cut_one_has_no_end() -> None:
    answer = {"choices": [*chat()["choices"], *chat("Hello there", "length")["choices"]]}
    assert tokens.count("chat", "gpt-5.1", {"messages": HI}, answer).output_tokens == 2 + 9 + 2


def test_a_refusal_and_a_text_after_results_cost_one_more() -> None:
    assert tokens.count("chat", OLD, {"messages": HI}, chat(None, refusal="No")).output_tokens == 2
    after = [*HI, {"role": "tool", "tool_call_id": "x", "content": "warm"}]
    assert tokens.count("chat", OLD, {"messages": after}, chat()).output_tokens == 3


def test_azure_counts_the_end_of_an_answer() -> None:
    answer = chat()
    answer["choices"][0]["content_filter_results"] = {}
    assert tokens.count("chat", OLD, {"messages": HI}, answer).output_tokens == 3


@pytest.mark.parametrize(("model", "end"), [(OLD, 6), (GPT5, 15)])
def test_a_call_in_chat(model: str, end: int) -> None:
    found = tokens.count("chat", model, {"messages": HI}, chat(None, "tool_calls", tool_calls=[CALL]))
    assert found.output_tokens == n("functions.get_weather") + n(ARGUMENTS) + end


@pytest.mark.parametrize(("model", "end"), [("gpt-4o", 3), ("gpt-3.5-turbo", 6)])
def test_a_legacy_call(model: str, end: int) -> None:
    answer = chat(None, "function_call", function_call={"name": "f", "arguments": "{}"})
    assert (
        tokens.count("chat", model, {"messages": HI}, answer).output_tokens == 2 + 1 + end
    )  # functions .f {}


def test_parallel_calls_are_written_as_one() -> None:
    """With blanks in the arguments, which the API put there."""
    spaced = {"id": "c2", "function": {"name": "get_time", "arguments": '{"city": "Rome"}'}}
    written = (
        '{"tool_uses":[{"recipient_name":"functions.get_weather","parameters":{"city":"Oslo"}},'
        '{"recipient_name":"functions.get_time","parameters":{"city":"Rome"}}]}'
    )
    answer = chat(None, "tool_calls", tool_calls=[CALL, spaced])
    assert tokens.count("chat", OLD, {"messages": HI}, answer).output_tokens == n(written) + 10
    items = [
        {"type": "function_call", "name": "get_weather", "arguments": ARGUMENTS},
        {"type": "function_call", "name": "get_time", "arguments": '{"city":"Rome"}'},
    ]
    assert tokens.count("responses", OLD, {"input": "Hi"}, response(*items)).output_tokens == n(written) + 11
    one_by_one = n("functions.get_weather") + n("functions.get_time") + n(ARGUMENTS)
    one_by_one += n('{"city":"Rome"}')
    assert (
        tokens.count("responses", GPT5, {"input": "Hi"}, response(*items)).output_tokens
        == one_by_one + 12 + 20
    )


@pytest.mark.parametrize(("model", "end"), [(OLD, 1), ("gpt-4-0613", 2), (O_SERIES, 4), (GPT5, 4)])
def test_a_text_in_responses(model: str, end: int) -> None:
    found = tokens.count("responses", model, {"input": "Hi"}, response(said()))
    assert (found.output_tokens, found.source) == (2 + end, "tokenizer")


def test_a_text_in_responses_that_might_have_been_a_call() -> None:
    body = {"input": "Hi", "tools": [{"type": "function", **WEATHER}]}
    assert tokens.count("responses", OLD, body, response(said())).output_tokens == 2 + 2


@pytest.mark.parametrize(("model", "end"), [(OLD, 7), (GPT5, 10)])
def test_a_call_in_responses(model: str, end: int) -> None:
    call = {"type": "function_call", "name": "get_weather", "arguments": ARGUMENTS}
    found = tokens.count("responses", model, {"input": "Hi"}, response(call))
    assert found.output_tokens == n("functions.get_weather") + n(ARGUMENTS) + end


# --- what the API once did


def test_the_first_responses_had_a_hidden_preamble() -> None:
    answer = {**response(said()), "created_at": 1_742_000_000}
    assert tokens.count("responses", OLD, {"input": "Hi"}, answer).input_tokens == 8 + 18
    body = {"input": "Hi", "tools": [{"type": "function", **WEATHER}]}
    assert tokens.count("responses", OLD, body, answer).approximate == ["preview"]


@pytest.mark.parametrize(("created", "end"), [(1_735_000_000, 0), (1_745_000_000, 1), (1_749_000_000, 0)])
def test_the_end_of_chat_answers_was_counted_for_a_while(created: int, end: int) -> None:
    assert (
        tokens.count("chat", OLD, {"messages": HI}, {**chat(), "created": created}).output_tokens == 2 + end
    )


# --- completions and embeddings


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Once upon a time", 4),
        (["Once upon", "a time"], 4),
        ([1, 2, 3], 3),
        ([[1, 2], [3]], 3),
        ([], 0),
        (7, None),
    ],
)
def test_completions_count_prompt_and_completion(prompt: object, expected: int | None) -> None:
    """The legacy endpoint's stream reports neither."""
    choices = [{"text": " there was", "index": 0}, {"text": " there", "index": 1}]
    answer = {"choices": [{**choice, "finish_reason": "stop"} for choice in choices]}
    found = tokens.count("completions", "gpt-3.5-turbo-instruct", {"prompt": prompt}, answer)
    assert (found.input_tokens, found.output_tokens) == (expected, 3)
    assert found.source == ("estimate" if expected is None else "tokenizer")


def test_an_echoed_prompt_is_not_output() -> None:
    request = {"prompt": "Once upon a time", "echo": True}
    answer = {"choices": [{"text": "Once upon a time there was", "index": 0}]}
    assert tokens.count("completions", "davinci-002", request, answer).output_tokens == 2


def test_embeddings() -> None:
    found = tokens.count("embeddings", "text-embedding-3-small", {"input": ["Once upon", "a time"]}, None)
    assert (found.input_tokens, found.output_tokens, found.source) == (4, 0, "tokenizer")


# --- what is not in view


@pytest.mark.parametrize(
    ("endpoint", "model", "body", "answer", "missing", "side"),
    [
        ("chat", O_SERIES, {"messages": HI}, chat(), "reasoning", "output"),
        ("chat", "gpt-5.1", {"messages": HI, "reasoning_effort": "low"}, chat(), "reasoning", "output"),
        (
            "responses",
            O_SERIES,
            {"input": "Hi"},
            response({"type": "reasoning"}, said()),
            "reasoning",
            "output",
        ),
        (
            "responses",
            OLD,
            {"input": "Hi", "previous_response_id": "r"},
            None,
            "previous_response_id",
            "input",
        ),
        ("responses", OLD, {"input": "Hi", "conversation": {"id": "c"}}, None, "conversation", "input"),
        ("responses", OLD, {"prompt": {"id": "p"}}, None, "prompt", "input"),
        ("responses", OLD, {"input": "Hi", "tools": [{"type": "web_search"}]}, None, "hosted_tools", "input"),
        ("responses", OLD, {"input": [{"type": "mcp_call"}]}, None, "hosted_tools", "input"),
        (
            "responses",
            OLD,
            {"input": "Hi"},
            response({"type": "web_search_call"}, said()),
            "hosted_tools",
            "output",
        ),
        ("responses", OLD, {"input": [{"type": "compaction"}]}, None, "encrypted_content", "input"),
        ("responses", OLD, {"input": [{"type": "item_reference"}]}, None, "item_references", "input"),
        ("responses", O_SERIES, {"input": [*HI, {"type": "reasoning"}]}, None, "reasoning", "input"),
        ("responses", OLD, {"input": "Hi", "context_management": [{}]}, None, "context_management", "input"),
        ("responses", OLD, {"input": "Hi", "tools": [{"type": "custom"}]}, None, "custom_tools", "input"),
        (
            "chat",
            OLD,
            {"messages": HI, "tools": [{"type": "custom", "custom": {}}]},
            None,
            "custom_tools",
            "input",
        ),
        ("chat", OLD, {"messages": HI, "prediction": {"content": "x"}}, chat(), "prediction", "output"),
        ("chat", OLD, {"messages": HI}, chat(None, audio={"transcript": "Hi"}), "audio", "output"),
        ("chat", OLD, {"messages": HI}, chat(None, "content_filter"), "content_filter", "output"),
        ("chat", OLD, {"messages": HI}, chat("Hel", None), "cut", "output"),
        (
            "completions",
            "davinci-002",
            {"prompt": "a", "best_of": 3},
            {"choices": [{"text": "b"}]},
            "best_of",
            "output",
        ),
    ],
)
def test_a_lower_bound_says_so(
    endpoint: str,
    model: str,
    body: dict[str, Any],
    answer: dict[str, Any] | None,
    missing: Missing,
    side: str,
) -> None:
    found = tokens.count(endpoint, model, body, answer)
    assert missing in found.missing
    assert f"{side}_tokens" in found.lower_bound
    assert (found.complete, found.source) == (False, "estimate")
    assert found.as_dict()["complete"] is False


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "images"),
        ({"type": "input_image", "file_id": "file-1"}, "images"),
        ({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}, "files"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "files"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, "audio"),
        ({"type": "hologram"}, "unknown_content"),
    ],
)
def test_parts_that_cannot_be_counted(part: dict[str, Any], code: str) -> None:
    text = {"type": "text", "text": "Hi"}
    found = tokens.count("chat", OLD, {"messages": [{"role": "user", "content": [text, part]}]}, chat())
    assert (found.input_tokens, found.missing, found.lower_bound) == (8, [code], ["input_tokens"])


def test_reasoning_of_a_turn_that_is_over_costs_nothing() -> None:
    found = tokens.count("responses", O_SERIES, {"input": [{"type": "reasoning"}, *HI]}, response(said()))
    assert (found.input_tokens, found.missing) == (7, [])


def test_a_request_that_is_not_whole_is_estimated() -> None:
    cut = json.dumps({"messages": HI})[:-5]
    found = tokens.count("chat", OLD, cut + "A" * 5000, chat())
    assert found.input_tokens == -(-len(cut) // 4)  # what looks like a file is not counted
    assert (found.missing, found.approximate) == (["request"], ["not_whole"])


def test_an_answer_that_broke_off_is_estimated() -> None:
    found = tokens.count("chat", OLD, {"messages": HI}, '{"choices":[{"message":{"content":"Hello the')
    assert (found.input_tokens, found.output_tokens) == (8, 44 // 4)
    assert (found.missing, found.lower_bound) == (["cut"], ["output_tokens"])


def test_a_page_in_place_of_an_answer_is_not_counted() -> None:
    found = tokens.count("chat", OLD, {"messages": HI}, "<html>Bad gateway</html>")
    assert (found.input_tokens, found.output_tokens) == (8, None)


STREAMS = ["chat-stream", "chat-stream-tools", "chat-stream-azure", "responses-stream", "completions-stream"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_after_any_event_is_counted(name: str) -> None:
    """What was delivered, and the whole input; more with every event, never nothing where there was text."""
    scenario = SCENARIOS[name]
    body = scenario.response.body
    counts = []
    for at in range(1, body.count(b"\n\n") + 1):
        part = b"\n\n".join(body.split(b"\n\n")[:at]) + b"\n\n"
        cut = dataclasses.replace(scenario.response, body=part, complete=False)
        summary = summarize(scenario.request, cut)
        found = tokens.count(summary.endpoint, summary.model or OLD, summary.request, summary.output)
        assert found.input_tokens
        assert found.output_tokens is not None
        if re.search(r'"(?:content|text|arguments)": "[^"]', json.dumps(summary.output)):
            assert found.output_tokens > 0
        counts.append(found.output_tokens)
    assert counts == sorted(counts)
    assert counts[-1] > 0


def test_without_its_request_an_answer_is_counted_alone() -> None:
    found = tokens.count("chat", OLD, None, chat())
    assert (found.input_tokens, found.output_tokens, found.missing) == (None, 2, ["request"])
    assert found.as_dict()["total_tokens"] is None


def test_an_unknown_model_is_estimated_with_the_newest_vocabulary() -> None:
    found = tokens.count("chat", "llama-99", {"messages": HI}, chat("Hello"))
    assert (found.output_tokens, found.source, found.approximate) == (1, "estimate", ["model"])


def test_nothing_sent_nothing_answered() -> None:
    found = tokens.count("chat", None, None, None)
    assert (found.input_tokens, found.output_tokens) == (None, None)
    assert found.as_dict()["total_tokens"] is None


def test_as_dict() -> None:
    assert tokens.count("chat", OLD, {"messages": HI}, chat()).as_dict() == {
        "input_tokens": 8,
        "output_tokens": 2,
        "total_tokens": 10,
        "input_tokens_details": {},
        "output_tokens_details": {},
        "complete": True,
        "source": "tokenizer",
    }


# --- anything at all

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
