"""Find the usage in an answer, or an event of one: at its top, or wherever a gateway puts it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from addons.openai.http.values import objects

NAMES = ("usage", "token_usage", "usage_metadata", "usageMetadata")
FOREIGN = frozenset({"metadata", "error", "tools", "tool_choice", "text", "prompt", "request", "input"})
"""Members that repeat what the client wrote, or tell of something else: no usage of theirs is believed."""
_NAMES = frozenset(NAMES)
OLLAMA = "eval_count"
LLAMA_CPP = "timings"


def usages_in(value: object) -> Iterator[object]:
    """Give what may be the usage of an answer, or an event of a stream; what counts comes last.

    >>> list(usages_in({"choices": [{"index": 0, "usage": {"total_tokens": 3}}], "usage": None}))
    [{'total_tokens': 3}, None]
    """
    if not isinstance(value, dict):
        return
    if isinstance(timings := value.get(LLAMA_CPP), dict):
        yield _of_llama_cpp(timings)
    if OLLAMA in value:
        yield {key: value.get(key) for key in ("prompt_eval_count", OLLAMA)}
    for key, held in value.items():
        if isinstance(held, dict) and key not in FOREIGN:
            yield from _named(held)
    for choice in objects(value.get("choices")):
        for holder in (choice.get("message"), choice.get("delta"), choice):
            yield from _named(holder)
    yield from _named(value)


def _named(holder: Any) -> Iterable[object]:
    if not isinstance(holder, dict) or _NAMES.isdisjoint(holder):
        return ()  # as in nearly every event of a stream
    return [_plain(holder[name]) for name in reversed(NAMES) if name in holder]


def _plain(usage: object) -> object:
    """Give the usage itself, where a gateway puts it into a list, or writes it out as a text."""
    if isinstance(usage, list):
        return usage[-1] if usage else None
    if not isinstance(usage, str) or not usage.startswith("{"):
        return usage
    try:
        return json.loads(usage)
    except (ValueError, RecursionError):
        return None


def _of_llama_cpp(timings: Mapping[str, Any]) -> dict[str, Any]:
    """Read llama.cpp's: `prompt_n` is what was not in the cache; older servers do not tell how much was."""
    found: dict[str, Any] = {"completion_tokens": timings.get("predicted_n")}
    fresh, cached = timings.get("prompt_n"), timings.get("cache_n")
    if isinstance(fresh, int) and isinstance(cached, int):
        found |= {"prompt_tokens": fresh + cached, "cached_tokens": cached}
    return found
