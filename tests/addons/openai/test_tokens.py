"""Counting where the API reported nothing; overheads as recorded calls showed them."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai import tokens, vocabulary
from tests import corpus

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def _vocabularies() -> None:
    for item in vocabulary.VOCABULARIES.values():
        if not item.is_in(vocabulary.cache_folder()):
            pytest.skip(f"the vocabulary {item.name} is not installed: llmproxy tokenizers install")


def chat(content: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}


def test_chat() -> None:
    """3 to begin the answer, 3 for the message, its role, its text."""
    found = tokens.count("chat", "gpt-4o", {"messages": HI}, chat("Hello there"))
    assert (found.input_tokens, found.output_tokens, found.source) == (8, 2, "tokenizer")
    assert found.as_dict()["total_tokens"] == 10


def test_a_name_costs_one_more_than_its_text() -> None:
    plain = tokens.count("chat", "gpt-4o", {"messages": HI}, None)
    named = tokens.count("chat", "gpt-4o", {"messages": [{**HI[0], "name": "ada"}]}, None)
    assert plain.input_tokens is not None
    assert named.input_tokens == plain.input_tokens + 2


def test_text_that_looks_like_a_special_token_is_text() -> None:
    plain = tokens.count("chat", "gpt-4o", {"messages": HI}, chat("<|endoftext|>"))
    assert plain.output_tokens == 7


def test_reasoning_is_hidden() -> None:
    found = tokens.count("chat", "o4-mini", {"messages": HI}, chat("Hello"))
    assert found.source == "estimate"
    assert "hidden reasoning" in found.missing


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
    answer = {"choices": [{"text": " there was", "index": 0}, {"text": " there", "index": 1}]}
    found = tokens.count("completions", "gpt-3.5-turbo-instruct", {"prompt": prompt}, answer)
    assert (found.input_tokens, found.output_tokens) == (expected, 3)
    assert found.source == "tokenizer"


def test_an_echoed_prompt_is_not_output() -> None:
    request = {"prompt": "Once upon a time", "echo": True}
    answer = {"choices": [{"text": "Once upon a time there was", "index": 0}]}
    assert tokens.count("completions", "davinci-002", request, answer).output_tokens == 2


def test_responses() -> None:
    answer = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello there"}]}],
    }
    found = tokens.count("responses", "gpt-4.1", {"input": "Hi"}, answer)
    assert (found.input_tokens, found.output_tokens, found.source) == (8, 3, "tokenizer")


def test_what_the_server_holds_is_named() -> None:
    found = tokens.count("responses", "gpt-4.1", {"input": "Hi", "previous_response_id": "resp_1"}, None)
    assert found.missing == ["what the server holds (previous_response_id)"]
    assert found.source == "estimate"


def test_embeddings() -> None:
    found = tokens.count("embeddings", "text-embedding-3-small", {"input": ["Once upon", "a time"]}, None)
    assert (found.input_tokens, found.output_tokens, found.source) == (4, 0, "tokenizer")


def test_an_unknown_model_is_estimated_with_the_newest_vocabulary() -> None:
    found = tokens.count("chat", "llama-99", {"messages": HI}, chat("Hello"))
    assert (found.output_tokens, found.source) == (1, "estimate")


def test_nothing_sent_nothing_answered() -> None:
    found = tokens.count("chat", None, None, None)
    assert (found.input_tokens, found.output_tokens) == (None, None)
    assert found.as_dict()["total_tokens"] is None


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "embeddings"])
def test_recorded_calls_that_can_be_counted_are_counted_right(endpoint: str) -> None:
    """Against the provider's own count: wherever the source says `tokenizer`, input and output are equal."""
    equal, wrong = 0, []
    for exchange in corpus.load():
        wanted = corpus.reported_usage(exchange)
        if exchange["endpoint"] != endpoint or exchange["host_kind"] != "openai" or wanted is None:
            continue
        summary = corpus.summary(exchange)
        found = tokens.count(endpoint, summary.model, summary.request, summary.output)
        if found.source != "tokenizer" or not summary.request:
            continue
        if (found.input_tokens, found.output_tokens) == wanted:
            equal += 1
        else:
            wrong.append((exchange["id"], summary.model, wanted, (found.input_tokens, found.output_tokens)))
    print(f"{endpoint}: {equal} equal, {len(wrong)} not: {wrong}")
    assert equal > 3
    assert len(wrong) <= 0.15 * equal
