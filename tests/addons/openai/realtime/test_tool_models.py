"""Models of the API's own tools, as the gate has to see them."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai.realtime.tool_models import tool_models


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


def test_what_is_no_object_has_no_tools() -> None:
    for value in (None, [], "tools", 1):
        assert list(tool_models(value)) == []
