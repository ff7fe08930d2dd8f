"""Find requests whose answer may be given again to an equal one: asking changes and keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.endpoint import Endpoint
from addons.openai.http.values import objects

OWN_TOOLS = ("function", "custom")
"""Types of tools that the client runs; all others are run by the API, and may act, or look at the world."""
STATEFUL = ("background", "previous_response_id", "conversation", "prompt", "web_search_options", "audio")
"""Members by which a request begins something, goes on from something, or asks for more than the model."""
SEARCHING = "search"
"""In the names of models that look at the world unasked (`gpt-4o-search-preview`, `o3-deep-research`)."""


def is_repeatable(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    """Tell whether an answer to a request with this JSON body may be kept for equal ones.

    Responses are kept by the API unless the request says otherwise, chats only where it says so.
    """
    kept = body.get("store")
    if not endpoint.reusable or (kept is not False if endpoint.shown_again else bool(kept)):
        return False
    # The prompt of a completion is text; that of a response is one that the API keeps.
    names = (name for name in STATEFUL if name != "prompt" or endpoint.shown_again)
    if any(body.get(name) not in (None, False) for name in names):  # an empty object is a wish, too
        return False
    if SEARCHING in str(body.get("model")):
        return False
    return all(tool.get("type", "function") in OWN_TOOLS for tool in objects(body.get("tools")))
