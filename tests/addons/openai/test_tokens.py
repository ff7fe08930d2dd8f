"""Counting where the API reported nothing: every rule on a call made here, and its arithmetic.

The overheads were derived from recorded calls; `scripts/bench accuracy` compares with those.
"""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai import tokens
from tests.addons.openai.counted import (
    ARGUMENTS,
    BLOCK,
    GPT5,
    HI,
    O_SERIES,
    OLD,
    SCHEMA,
    SHOWN,
    SYSTEM,
    WEATHER,
    chat,
    chat_input,
    response,
    responses_input,
    said,
)
from tests.addons.openai.counting.test_media import png, url, wav
from tests.vocabularies import count as n
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()


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
    assert found.output_tokens == 2 + end
    assert found.missing == (["output_overhead"] if model == GPT5 else [])


def test_a_text_of_gpt5_in_responses_with_a_schema() -> None:
    """As recordings of gpt-5.6 show it, three of three."""
    schema = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    found = tokens.count("responses", "gpt-5.6-terra", {"input": "Hi", "text": schema}, response(said()))
    assert found.output_tokens == 2 + 8


THOUGHT = "The user wants a greeting, so I greet."


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hi there", "reasoning_content": THOUGHT},  # DeepSeek, SGLang
        {"content": "Hi there", "reasoning": THOUGHT},  # vLLM, Groq
        {"content": "Hi there", "reasoning": THOUGHT, "reasoning_content": THOUGHT},
        {"content": "Hi there", "thinking": THOUGHT},  # Ollama
        {"content": "Hi there", "reasoning": THOUGHT, "reasoning_details": [{"type": "x", "text": THOUGHT}]},
        # OpenRouter
        {"content": "Hi there", "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
        {"content": "Hi there", "reasoning_details": [{"type": "reasoning.summary", "summary": THOUGHT}]},
        {"content": "Hi there", "thinking_blocks": [{"type": "thinking", "thinking": THOUGHT}]},  # LiteLLM
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                     {"type": "text", "text": "Hi there"}]},  # Mistral
        {"content": [{"type": "text", "text": THOUGHT}, {"type": "text", "text": "Hi there"}]},
    ],
)  # fmt: skip
def test_visible_reasoning_in_chat_is_output(message: dict[str, Any]) -> None:
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    found = tokens.count("chat", OLD, {"messages": [{"role": "user", "content": "Hi"}]}, answer)
    assert found.output_tokens == n(THOUGHT) + 2
    assert found.complete


def test_visible_reasoning_in_responses_is_output() -> None:
    shown = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": THOUGHT}]}
    found = tokens.count("responses", OLD, {"input": "Hi"}, response(shown, said()))
    assert (found.output_tokens, found.missing) == (n(THOUGHT) + 2 + 1, [])
    hidden = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Greets."}]}
    found = tokens.count("responses", OLD, {"input": "Hi"}, response(hidden, said()))
    assert (found.output_tokens, found.missing) == (2 + 1, ["reasoning"])


@pytest.mark.parametrize(
    ("prompt", "texts", "generated"),
    [
        ("Hel", ["Hello world"], ["lo world"]),
        ("Once upon", ["Once upon a time"], [" a time"]),
        (["Hel", "Wor"], ["Hello", "World"], ["lo", "ld"]),
        ("", ["Hi"], ["Hi"]),
    ],
)
def test_an_echoed_prompt_that_ends_within_a_word(
    prompt: Any, texts: list[str], generated: list[str]
) -> None:
    answer = {"choices": [{"text": text, "finish_reason": "length"} for text in texts]}
    found = tokens.count("completions", OLD, {"prompt": prompt, "echo": True}, answer)
    assert (found.output_tokens, found.approximate) == (sum(map(n, generated)), [])


def test_an_echo_of_token_ids_is_approximate() -> None:
    answer = {"choices": [{"text": "Hello world", "finish_reason": "length"}]}
    found = tokens.count("completions", OLD, {"prompt": [9906], "echo": True}, answer)
    assert (found.output_tokens, found.approximate) == (1, ["echo"])


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
