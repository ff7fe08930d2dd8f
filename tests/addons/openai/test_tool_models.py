"""Models of the API's own tools, as the gate has to see them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from addons.openai.tool_models import in_body, tool_models


@pytest.mark.parametrize(
    ("tools", "models"),
    [
        ([], []),
        ([{"type": "function", "name": "f", "parameters": {"properties": {"model": {}}}}], []),
        ([{"type": "image_generation", "model": "gpt-image-1"}, {"type": "web_search"}], ["gpt-image-1"]),
        ([{"type": "image_generation"}], [None]),
        ([{"type": "image_generation", "Model": "gpt-image-1"}], [None]),
        ([{"type": "image_generation", "model": ["gpt-image-1"]}], [None]),
        ([{"type": "something_new", "model": "o1-pro"}], ["o1-pro"]),
        ("tools", []),
        ([None, 1, "x"], []),
    ],
)
def test_models_of_tools(tools: Any, models: list[str | None]) -> None:
    found = list(tool_models({"model": "gpt-4o", "tools": tools}))
    assert [asked.model for asked in found] == models
    assert all((asked.model is None) == (asked.unknown is not None) for asked in found)
    body = json.dumps({"tools": tools}).encode()
    assert list(in_body(body, "")) == list(in_body(gzip.compress(body), "gzip")) == found


def test_a_body_that_is_none() -> None:
    for body in (b"", b"tools", b"[" * 99_999 + b"tools", b'"tools"', b"\xfftools"):
        assert list(in_body(body, "")) == []
    escaped = b'{"too\\u006cs": [{"type": "image_generation", "model": "a"}]}'
    assert [asked.model for asked in in_body(escaped, "")] == ["a"]
