"""Take known secrets out of texts, whole or masked, and the secrets of remote tools out of requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlunsplit

from store.core.urls import NOTHING, split_url

REDACTED = "[redacted]"
SHORTEST = 8
"""Characters; a shorter text is no secret, and may be anywhere by chance."""
MASK = re.compile(r"\*{2,}|[•…]+|\.{3,}")
MASKS = ("**", "...", "•", "…")
"""One of them begins every mask. To look for each of them takes a fraction of the time."""
MOST_SHOWN = 64
"""Characters of either side of a mask that are looked at."""
RIGHT = re.compile(rf"[\w-]{{0,{MOST_SHOWN}}}")


class KnownSecrets:
    """Hides these secrets, and what is left of them where a server has masked them: ``sk-pro***wxyz``."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= SHORTEST}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Hide secrets in a text; give `text` itself where it holds none of them."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return self._hide_masked(text) if self._secrets else text

    def _hide_masked(self, text: str) -> str:
        masks = _masks(text)
        if not masks:
            return text
        begins = {secret[:length] for secret in self._secrets for length in range(len(secret) + 1)}
        ends = {secret[length:] for secret in self._secrets for length in range(len(secret) + 1)}
        found: list[str] = []
        at = 0
        for start, end in masks:
            if start < at:
                continue
            right = RIGHT.match(text, end)
            assert right is not None
            if right[0] not in ends:
                continue  # as of nearly all: the stars and dots of prose and code
            for begin in _begins(text, _left_of(text, start, at), start):
                shown = text[begin:start]
                if shown in begins and any(_shows(shown, right[0], secret) for secret in self._secrets):
                    found += [text[at:begin], REDACTED]
                    at = right.end()
                    break
        return "".join([*found, text[at:]]) if found else text


def _masks(text: str) -> list[tuple[int, int]]:
    """List where masks begin and end, in their order."""
    found: list[tuple[int, int]] = []
    for begins in MASKS:
        at = text.find(begins) if begins[0] in text else -1
        while at >= 0:
            mask = MASK.match(text, at)
            assert mask is not None
            found.append(mask.span())
            at = text.find(begins, mask.end())
    found.sort()
    # Within one of bullets another one begins with an ellipsis.
    return [span for span, before in zip(found, [(0, 0), *found], strict=False) if span[0] >= before[1]]


def _left_of(text: str, end: int, least: int) -> int:
    """Give where the part of a word begins that ends at `end`; not before `least`."""
    least = max(least, end - MOST_SHOWN)
    while end > least and (text[end - 1].isalnum() or text[end - 1] in "_-"):
        end -= 1
    return end


def _begins(text: str, start: int, end: int) -> list[int]:
    """List where the left side of a mask may begin: in JSON an escape (``\\n``) may stand before it."""
    behind_escapes = [start + 1, start + len("u0000")] if text[start - 1 : start] == "\\" else []
    return [start, *(begin for begin in behind_escapes if begin <= end)]


def _shows(left: str, right: str, secret: str) -> bool:
    """Tell whether both sides of a mask are the ends of `secret`, and more than the prefix that all have."""
    if not (secret.startswith(left) and secret.endswith(right)):
        return False
    return len(right) >= (2 if left else 4) or len(left.rpartition("-")[2]) >= 4


def hide_tool_secrets(value: Any) -> Any:
    """Take the credentials of remote MCP servers out of a JSON value; the value itself where there are none.

    A tool of type ``mcp`` has them in `authorization`, in `headers`, and at times in its `server_url`.
    """
    return _without_tool_secrets(value) if _has_tools(value) else value


def _has_tools(value: Any) -> bool:
    """Tell whether a remote tool is anywhere in a JSON value. Mostly none is, and nothing is copied."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if item.get("type") == "mcp" or "server_url" in item:
                return True
            left += item.values()
        elif isinstance(item, list):
            left += item
    return False


def _without_tool_secrets(value: Any) -> Any:
    if isinstance(value, list):
        items = [_without_tool_secrets(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if not isinstance(value, dict):
        return value
    members = {key: _without_tool_secrets(item) for key, item in value.items()}
    if value.get("type") == "mcp" or "server_url" in value:
        members = {key: _hide_member(key, item) for key, item in members.items()}
    return value if all(members[key] is value[key] for key in value) else members


def _hide_member(key: str, value: Any) -> Any:
    if key == "authorization" and value is not None:
        return REDACTED
    if key == "headers" and value:
        return dict.fromkeys(value, REDACTED) if isinstance(value, Mapping) else REDACTED
    if key == "server_url" and isinstance(value, str):
        return _without_secrets(value)
    return value


def _without_secrets(url: str) -> str:
    """Hide the secrets of a URL. Host and plain path stay, so that one can tell which server it was."""
    parts = split_url(url)
    if parts is NOTHING:
        return REDACTED
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{REDACTED}@{host}" if "@" in parts.netloc else parts.netloc
    path = "/".join(REDACTED if _is_token(segment) else segment for segment in parts.path.split("/"))
    query, fragment = (REDACTED if part else "" for part in (parts.query, parts.fragment))
    hidden = urlunsplit((parts.scheme, netloc, path, query, fragment))
    return url if (netloc, path, query, fragment) == (parts.netloc, parts.path, "", "") else hidden


def _is_token(segment: str) -> bool:
    """Tell whether a part of a path is long and random, and not a name."""
    return len(segment) >= 16 and any(c.isdigit() for c in segment) and any(c.isalpha() for c in segment)
