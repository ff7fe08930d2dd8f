"""Counting what is not all in view: figures that are lower bounds or estimates, and say so."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from addons.openai import summarize, tokens
from addons.openai.counting.tally import Missing
from tests.addons.openai.counted import HI, O_SERIES, OLD, chat, response, said
from tests.scenarios import SCENARIOS
from tests.vocabularies import needs_vocabularies

pytestmark = needs_vocabularies()


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
