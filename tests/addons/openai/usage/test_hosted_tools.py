from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage.hosted_tools import ReadTools, of_items, of_model, of_pictures
from tests import corpus


def tools(items: list[Any], **more: Any) -> dict[str, Any]:
    return of_items("gpt-5", {"output": items, **more})


def call(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "status": "completed", **fields}


def test_only_searches_are_web_searches() -> None:
    actions: list[Any] = [{"type": "search"}, {"type": "open_page"}, {"type": "find_in_page"}, "search", None]
    items = [call("web_search_call", action=action) for action in actions]
    assert tools(items) == {"web_search_calls": 3}
    assert tools([call("web_search_call", action={"type": "search"}, status="failed")]) == {}


def test_the_answers_own_count_goes_first() -> None:
    items = [call("web_search_call", action={"type": "search"})]
    assert tools(items, tool_usage={"web_search": {"num_requests": 2}}) == {"web_search_calls": 2}
    assert tools(items, tool_usage={"web_search": None}) == {"web_search_calls": 1}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("web_search", "web_search_calls"),
        ("web_search_2025_08_26", "web_search_calls"),
        ("web_search_preview", "web_search_preview_calls"),
        ("web_search_preview_2025_03_11", "web_search_preview_calls"),
    ],
)
def test_the_preview_is_told_apart(kind: str, name: str) -> None:
    items = [call("web_search_call", action={"type": "search"})]
    assert tools(items, tools=[{"type": "function"}, {"type": kind}]) == {name: 1}


def test_containers_are_counted_not_calls() -> None:
    items = [
        call("code_interpreter_call", container_id="a"),
        call("code_interpreter_call", container_id="a"),
        call("shell_call", environment={"type": "container_reference", "container_id": "b"}),
        call("shell_call", environment={"type": "local"}),
        call("local_shell_call", container_id="c"),
    ]
    declared = [{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}]
    assert tools(items, tools=declared) == {"containers": 2, "container_memory": "4g"}
    assert tools(items, tools=[{"type": "code_interpreter", "container": "a"}]) == {"containers": 2}


def test_images_and_their_tokens() -> None:
    used = {"input_tokens": 5, "output_tokens": 272}
    found = tools(
        [call("image_generation_call")],
        tools=[{"type": "image_generation", "model": "gpt-image-1"}],
        tool_usage={"image_gen": used, "web_search": {"num_requests": 0}},
    )
    assert found == {
        "image_generation_calls": 1,
        "image_generation_usage": used | {"input_tokens_details": {}, "output_tokens_details": {}},
        "image_generation_model": "gpt-image-1",
    }
    assert tools([], tool_usage={"image_gen": {"input_tokens": 0, "output_tokens": 0}}) == {}


def test_file_searches_and_what_is_free() -> None:
    items = [call("file_search_call"), call("file_search_call"), call("function_call"), call("mcp_call")]
    assert tools(items) == {"file_search_calls": 2}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-search-preview", {"web_search_preview_calls": 1}),
        ("gpt-4o-mini-search-preview-2025-03-11", {"web_search_preview_calls": 1}),
        ("gpt-5-search-api-2025-10-14", {"web_search_calls": 1}),
        ("gpt-4o", {}),
        (None, {}),
    ],
)
def test_search_models_of_the_chat_endpoint(model: str | None, expected: dict[str, Any]) -> None:
    assert of_model(model, {"choices": [{"index": 0}]}) == expected
    assert of_model(model, {"error": {}}) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["output", "tools", "type", "action", "tool_usage", "web_search", "container"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([of_items, of_model, of_pictures]), JSON)
def test_any_answer(read: ReadTools, output: Any) -> None:
    assert isinstance(read("gpt-4o-search-preview", output), dict)


@pytest.mark.slow
def test_recorded_answers_that_used_tools() -> None:
    found = [corpus.summary(exchange).hosted_tools for exchange in corpus.load()]
    counted = [name for one in found for name in one]
    for name in ("web_search_calls", "file_search_calls", "containers", "image_generation_calls"):
        assert counted.count(name) >= 4, name
