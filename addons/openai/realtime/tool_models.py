"""Find models that the API's own tools use: a request for one model may have pictures made by another.

Of the tools in the API reference only `image_generation` names one. What a stored prompt brings along is not
in the request, and not seen here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from addons.openai.http.values import objects
from addons.openai.requested_model import Asked

MAKES_PICTURES = "image_generation"


def tool_models(value: Any) -> Iterator[Asked]:
    """Give the models of the tools in a request, or in an event of a session: for decisions.

    >>> list(tool_models({"tools": [{"type": "image_generation", "model": "gpt-image-1"}]}))
    [Asked(model='gpt-image-1', unknown=None)]
    """
    tools = objects(value.get("tools")) if isinstance(value, dict) else []
    for tool in tools:
        named = [key for key in tool if key.strip().lower() == "model"]
        if named and (named != ["model"] or not isinstance(tool["model"], str | None)):
            yield Asked(unknown="a tool has a key that is nearly 'model', or whose value is no text")
        elif tool.get("model"):
            yield Asked(tool["model"])
        elif tool.get("type") == MAKES_PICTURES:
            yield Asked(unknown="the tool image_generation names no model")
