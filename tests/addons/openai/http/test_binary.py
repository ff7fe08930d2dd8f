"""Base64 is recorded by its size, wherever the API puts it, and nothing else is touched."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.http.binary import LONG, size, without_binary
from addons.openai.http.json_scan import CutText

DATA = base64.b64encode(b"x" * 2000).decode()
IMAGE = "image_generation_call"
SIZE = {"bytes": 2000}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"data": [{"b64_json": DATA, "size": "a"}]}, {"data": [{"b64_json": SIZE, "size": "a"}]}),
        ({"audio": {"data": DATA, "transcript": "t"}}, {"audio": {"data": SIZE, "transcript": "t"}}),
        ({"type": IMAGE, "result": DATA}, {"type": IMAGE, "result": SIZE}),
        ({"type": "output_audio", "data": DATA}, {"type": "output_audio", "data": SIZE}),
        ({"partial_image_b64": DATA}, {"partial_image_b64": SIZE}),
        ({"url": f"data:image/png;base64,{DATA}"}, {"url": "data:image/png;base64,[2000 bytes]"}),
        ([[{"b64_json": DATA}]], [[{"b64_json": SIZE}]]),
    ],
)  # fmt: skip
def test_sizes_in_place_of_data(value: Any, left: Any) -> None:
    assert without_binary(value) == left


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "text", DATA, {"data": DATA}, {"result": DATA, "type": "mcp_call"}, {"b64_json": None},
        {"b64_json": ""}, {"audio": None}, {"audio": {"data": None}}, {"audio": {"voice": "alloy"}},
        {"data": [{"embedding": DATA}]}, "data:image/png;base64,AAAA", "data:text/plain," + "x" * LONG,
    ],
)  # fmt: skip
def test_what_is_kept(value: Any) -> None:
    assert without_binary(value) == value


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_the_size_of_joined_pieces(pieces: list[bytes]) -> None:
    """Each with its own padding, or one cut at any multiple of four."""
    assert size("".join(base64.b64encode(piece).decode() for piece in pieces)) == sum(map(len, pieces))


def test_a_type_that_is_no_text() -> None:
    value = {"type": ["audio"], "audio": "AAAA"}
    assert without_binary(value) == value


def test_of_a_text_that_was_cut_the_whole_size_is_told() -> None:
    cut = CutText("QUJD")
    cut.length = 4000
    assert size(cut) == 3000
    assert without_binary({"b64_json": cut}) == {"b64_json": {"bytes": 3000}}
