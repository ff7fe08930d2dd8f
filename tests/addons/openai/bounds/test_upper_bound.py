"""The most that a call can use: never less than what recorded calls did use."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from addons.openai.bounds import model_sizes as sizes
from addons.openai.bounds.media_bounds import LARGEST_SOUND
from addons.openai.bounds.text_bounds import MARGIN
from addons.openai.bounds.upper_bound import bound_turn, bound_upload, upper_bound
from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.counting.sound import SLOWEST
from addons.openai.endpoint import Bills
from addons.openai.endpoints import resolve
from tests import corpus
from tests.vocabularies import needs_vocabularies

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
HELLO = [{"role": "user", "content": "hello"}]
WINDOW = sizes.of("gpt-4o").window


def of(path: str, body: Any, *, exact: bool = False) -> UsageBound:
    model = body.get("model") if isinstance(body, dict) else None
    return upper_bound(resolve("POST", path), model, body, exact=exact)


@pytest.mark.parametrize("exact", [False, pytest.param(True, marks=needs_vocabularies())])
def test_no_recorded_call_used_more(exact: bool) -> None:
    """Of OpenAI's own models: another maker's tokenizer counts otherwise."""
    seen = 0
    for exchange in corpus.load():
        usage, url = corpus.reported_usage(exchange), urlsplit(exchange["url"])
        endpoint = resolve(exchange["method"], url.path)
        if not usage or not (url.hostname or "").endswith(("openai.com", "azure.com")):
            continue
        try:
            body = json.loads(corpus.request_body(exchange))
        except ValueError:
            continue
        if not isinstance(body, dict) or endpoint.bills is Bills.NOTHING:
            continue
        model = corpus.summary(exchange).model or body.get("model")
        bound = upper_bound(endpoint, model, body, exact=exact)
        if bound.unbounded is None:
            seen += 1
            assert usage[0] <= bound.input_tokens, exchange["id"]
            assert usage[1] <= bound.output_tokens, exchange["id"]
    assert seen > 400


@needs_vocabularies()
def test_a_count_is_nearer_than_bytes() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "the quick brown fox " * 1000}]}
    by_bytes, counted = of(CHAT, body), of(CHAT, body, exact=True)
    assert counted.input_tokens < by_bytes.input_tokens / 3
    assert counted.output_tokens == by_bytes.output_tokens == 16_384


@pytest.mark.parametrize(
    ("path", "said", "output"),
    [
        (CHAT, {}, 16_384),
        (CHAT, {"max_tokens": 100}, 100),
        (CHAT, {"max_completion_tokens": 100, "max_tokens": 200}, 200),
        (CHAT, {"max_completion_tokens": 100, "n": 3}, 300),
        (CHAT, {"max_completion_tokens": 10**9}, 16_384),
        (CHAT, {"max_completion_tokens": True, "n": "x"}, 16_384),
        (CHAT, {"max_tokens": 10, "prediction": {"type": "content", "content": "x" * 50}}, 10 + 84),
        (RESPONSES, {"max_output_tokens": 50}, 50),
        (RESPONSES, {}, 16_384),
        (RESPONSES + "/compact", {"max_output_tokens": 50}, 16_384),
        ("/v1/completions", {"prompt": "x"}, 16),
        ("/v1/completions", {"prompt": ["x", "y"], "max_tokens": 5, "n": 2, "best_of": 3}, 30),
        ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 5}, 5),
        ("/v1/embeddings", {"input": "x"}, 0),
        ("/v1/moderations", {"input": "x" * 1000}, 0),
        ("/v1/threads/runs", {"max_completion_tokens": 70}, 70),
    ],
)
def test_the_output(path: str, said: dict[str, Any], output: int) -> None:
    body = {"model": "gpt-4o", "messages": HELLO, **said}
    assert of(path, body).output_tokens == output


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
FILE = {"type": "input_file", "file_id": "file-1"}
REFERS = {"$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [PICTURE]}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}),
        (RESPONSES, {"input": "x", "conversation": "conv_1"}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (RESPONSES, {"input": [{"role": "user", "content": [FILE]}]}),
        (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1"}]}),
        ("/v1/threads/runs", {}),
    ],
)
def test_what_cannot_be_seen_fills_the_window(path: str, said: dict[str, Any]) -> None:
    assert of(path, {"model": "gpt-4o", **said}).input_tokens == WINDOW


def test_a_schema_that_refers_to_itself_fills_the_window() -> None:
    defined = {"a": {"type": "object", "properties": {"b": REFERS, "c": REFERS}}}
    parameters = {"type": "object", "properties": {"a": REFERS}, "$defs": defined}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    assert of(CHAT, {"model": "gpt-4o", "messages": HELLO, "tools": tools}).input_tokens == WINDOW


def test_reasoning_that_the_client_sends_back() -> None:
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "x" * 1000}
    bound = of(RESPONSES, {"model": "gpt-5", "input": [{"role": "user", "content": "x"}, item]})
    assert 1000 < bound.input_tokens < 1500


@pytest.mark.parametrize(
    ("tools", "calls", "hosted"),
    [
        ([{"type": "web_search"}], 3, {"web_search_calls": 3}),
        ([{"type": "web_search_2025_08_26"}], 1, {"web_search_calls": 1}),
        ([{"type": "file_search"}, {"type": "mcp"}], 2, {"file_search_calls": 2}),
        ([{"type": "code_interpreter", "container": {"type": "auto"}}], 1, {"containers": 1}),
    ],
)
def test_hosted_tools_are_bounded_by_their_calls(
    tools: list[Any], calls: int, hosted: dict[str, int]
) -> None:
    body = {"model": "gpt-4o", "input": "x", "tools": tools, "max_tool_calls": calls}
    bound = of(RESPONSES, body)
    assert (bound.hosted, bound.input_tokens) == (hosted, (calls + 1) * WINDOW)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"tools": [{"type": "web_search"}]}, "max_tool_calls"),
        ({"tools": [{"type": "web_search"}], "max_tool_calls": "3"}, "max_tool_calls"),
        ({"tools": [{"type": "image_generation"}], "max_tool_calls": 1}, "image_generation"),
        ({"tools": [{"type": "shell"}], "max_tool_calls": 1}, "shell"),
    ],
)
def test_hosted_tools_without_a_bound(said: dict[str, Any], why: str) -> None:
    assert why in (of(RESPONSES, {"model": "gpt-5", "input": "x", **said}).unbounded or "")


def test_tools_of_the_client_need_no_bound() -> None:
    kinds = ["function", "custom", "local_shell", "apply_patch", "computer_use_preview"]
    tools = [{"type": kind, "name": "f"} for kind in kinds]
    tools.append({"type": "shell", "environment": {"type": "local"}})  # type: ignore[dict-item]
    assert of(RESPONSES, {"model": "gpt-5", "input": "x", "tools": tools}).unbounded is None


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/fine_tuning/jobs", "/v1/videos", "/v1/unheard_of"])
def test_what_bills_later_has_no_bound(path: str) -> None:
    assert of(path, {}).unbounded


@pytest.mark.parametrize("body", [None, [], "text", 1])
def test_a_body_that_is_no_object_has_no_bound(body: Any) -> None:
    assert of(CHAT, body).unbounded


def test_pictures() -> None:
    made = of("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "n": 2, "quality": "low"})
    assert (made.output_tokens, made.made, made.images) == (2 * (408 + MARGIN), {"image"}, 0)
    assert of("/v1/images/generations", {"model": "dall-e-3", "prompt": "x", "n": 1}).images == 1
    unnamed = of("/v1/images/generations", {"prompt": "x"})
    assert unnamed.output_tokens == 6_240 + MARGIN


def test_uploads() -> None:
    heard = bound_upload(resolve("POST", "/v1/audio/transcriptions"), 7500)
    assert (heard.seconds, heard.given) == (11, {"audio"})
    assert bound_upload(resolve("POST", "/v1/audio/transcriptions"), None).seconds == (
        LARGEST_SOUND // SLOWEST + 1
    )
    assert bound_upload(resolve("POST", "/v1/images/edits"), 100).output_tokens == 250_000
    assert bound_upload(resolve("POST", "/v1/files"), 100).tokens == 0
    assert bound_upload(resolve("POST", "/v1/videos"), 100).unbounded


def test_an_answer_of_a_session() -> None:
    bound = bound_turn("gpt-realtime", {"type": "response.create", "response": {"max_output_tokens": 99}})
    assert (bound.input_tokens, bound.output_tokens) == (32_000, 99)
    assert bound_turn("gpt-realtime").output_tokens == 4_096
