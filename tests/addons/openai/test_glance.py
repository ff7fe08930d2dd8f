from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.glance import PARSED_BYTES, glance, glance_at

CHAT = {
    "model": "gpt-4o",
    "stream": True,
    "user": "ada",
    "messages": [{"role": "user", "content": "x" * 400}],
}


def body(**fields: Any) -> bytes:
    return json.dumps({**CHAT, **fields}).encode()


def test_a_chat_request() -> None:
    seen = glance(body())
    assert (seen.model, seen.stream, seen.users, seen.input_tokens) == ("gpt-4o", True, {"user": "ada"}, 100)


@pytest.mark.parametrize(
    "content",
    [
        [
            {"type": "text", "text": "x" * 400},
            {"type": "image_url", "image_url": {"url": "data:" + "y" * 9000}},
        ],
        [
            {"type": "input_text", "text": "x" * 400},
            {"type": "input_image", "image_url": "data:" + "y" * 9000},
        ],
    ],
)
def test_images_are_not_text(content: Any) -> None:
    assert glance(body(messages=[{"role": "user", "content": content}])).input_tokens == 100


def test_responses_and_embeddings() -> None:
    assert glance(json.dumps({"model": "m", "input": ["x" * 40, "y" * 40]}).encode()).input_tokens == 20
    item = {"role": "user", "content": [{"type": "input_text", "text": "x" * 40}]}
    request = {"model": "m", "instructions": "i" * 40, "input": [item]}
    assert glance(json.dumps(request).encode()).input_tokens == 20


def test_a_long_body_is_not_parsed() -> None:
    long = body(messages=[{"role": "user", "content": "x" * 2 * PARSED_BYTES}])
    seen = glance(long)
    assert seen.model == "gpt-4o"
    assert seen.input_tokens == len(long) // 4
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "y" * 2 * PARSED_BYTES}}
    assert glance(body(messages=[{"role": "user", "content": [image]}])).input_tokens is None


def test_of_a_long_body_that_has_been_parsed_the_texts_count() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "y" * 2 * PARSED_BYTES}}
    said = {"type": "text", "text": "x" * 4 * PARSED_BYTES}
    seen = glance_at({**CHAT, "messages": [{"role": "user", "content": [image, said]}]})
    assert seen.input_tokens == PARSED_BYTES


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists, max_leaves=9).map(
    lambda value: json.dumps({"model": value, "messages": value, "user": value}).encode()
))  # fmt: skip
def test_never_raises(data: bytes) -> None:
    glance(data)
