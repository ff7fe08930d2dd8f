"""A stream of chunks becomes the object that the same call returns without streaming: chat and completions.

Fields that are not known here are kept by the shape of their values: text is joined, lists are appended,
anything else is replaced by what comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from addons.openai.answers.tool_calls import ToolCalls, add_fragment
from addons.openai.http.values import Json, append_text, child, index, objects
from addons.openai.usage.places import usages_in
from addons.openai.usage.usage import merge

PADDING = "obfuscation"
"""Random text that hides the length of what is sent; it is not part of the answer."""
FIRST_COUNTS = ("id", "created", "model", "system_fingerprint", "service_tier")
"""Azure's first chunk has an empty id and model."""


def chat(chunks: Iterable[Json]) -> Json | None:
    """Make a ``chat.completion`` of ``chat.completion.chunk`` objects; None where there is no chunk."""
    return _assemble(chunks, "chat.completion", _add_chat_choice)


def completion(chunks: Iterable[Json]) -> Json | None:
    """Make a ``text_completion`` of chunks of the legacy endpoint."""
    return _assemble(chunks, "text_completion", _add_text_choice)


def _assemble(chunks: Iterable[Json], kind: str, add_choice: Callable[[Json, Json], None]) -> Json | None:
    whole: Json = {}
    choices: dict[int, Json] = {}
    usages: list[Any] = []
    seen = False
    for chunk in chunks:
        seen = True
        _add_top_level(whole, chunk)
        usages += usages_in(chunk)
        for choice in objects(chunk.get("choices")):
            at = index(choice) or 0
            add_choice(choices.setdefault(at, {"index": at}), choice)
    if not seen:
        return None
    whole["object"] = kind
    whole["choices"] = [_finish_choice(choices[at]) for at in sorted(choices)]
    if (reported := merge(usages)) is not None:
        whole["usage"] = reported.raw
    return whole


def _add_top_level(whole: Json, chunk: Json) -> None:
    for key, value in chunk.items():
        if key in ("choices", "object", "usage", PADDING):
            continue
        if key in FIRST_COUNTS:
            whole[key] = whole.get(key) or value
        elif isinstance(value, dict) and isinstance(before := whole.get(key), dict):
            whole[key] = {**before, **value}
        elif value is not None:
            whole[key] = value


def _add_chat_choice(choice: Json, part: Json) -> None:
    message = choice.setdefault("message", {"role": "assistant", "content": None})
    # Some servers send `message`, what was said so far, beside it, or only that. Azure may send neither.
    delta = part["delta"] if "delta" in part else part.get("message")
    for key, value in delta.items() if isinstance(delta, dict) else ():
        _add_delta(message, key, value)
    _add_rest(choice, part, {"delta", "message"})


def _add_text_choice(choice: Json, part: Json) -> None:
    append_text(choice, "text", part.get("text"))
    _add_rest(choice, part, {"text"})


def _add_rest(choice: Json, part: Json, done: set[str]) -> None:
    """Add finish_reason, logprobs, and what servers add of their own."""
    for key, value in part.items():
        before = choice.get(key)
        if key in done or key == "index":
            continue
        if key == "logprobs" and isinstance(value, Mapping):
            choice[key] = _extend(before if isinstance(before, dict) else {}, value)
        elif isinstance(before, dict) and isinstance(value, dict):
            choice[key] = {**before, **value}  # Azure's filter results come with every chunk, at times empty
        elif value is not None or key not in choice:
            choice[key] = value


def _add_delta(message: Json, key: str, value: Any) -> None:
    if key == PADDING or (value is None and key in message):
        return
    if key == "role":
        message[key] = value or message.get(key)
    elif key == "tool_calls":
        calls = message.get(key)
        if not isinstance(calls, ToolCalls):
            calls = message[key] = ToolCalls()
        for call in objects(value):
            calls.add(call)
    elif key == "function_call" and isinstance(value, Mapping):
        add_fragment(child(message, key), value)
    elif key == "audio" and isinstance(value, Mapping):
        _add_audio(child(message, key), value)
    elif isinstance(value, list) and any(index(piece) is not None for piece in objects(value)):
        message[key] = _join_indexed(message.get(key), value)
    else:
        message[key] = _joined(message.get(key), value)


def _add_audio(whole: Json, part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        if key in ("data", "transcript"):
            append_text(whole, key, value)
        elif value is not None:
            whole[key] = value


def _join_indexed(before: Any, value: list[Any]) -> list[Any]:
    """Join other makers' lists (``reasoning_details``, ``executed_tools``): one member by index and type."""
    whole = list(before) if isinstance(before, list) else []
    for piece in value:
        if not isinstance(piece, dict) or (at := index(piece)) is None:
            whole.append(piece)
            continue
        kind = piece.get("type")
        same = [item for item in objects(whole) if item.get("index") == at and item.get("type") == kind]
        if not same:
            whole.append(dict(piece))
            continue
        for key, part in piece.items():
            if key in ("text", "summary", "data") and isinstance(part, str):
                append_text(same[-1], key, part)
            elif part is not None:
                same[-1][key] = part
    return whole


def _joined(before: Any, value: Any) -> Any:
    if isinstance(before, str) and isinstance(value, str):
        return before + value
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    if isinstance(before, str | list) and isinstance(value, str | list):
        return _parts(before) + _parts(value)  # some servers begin with parts and go on with text
    return before if value is None else value


def _parts(content: str | list[Any]) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _extend(whole: Json, part: Mapping[str, Any]) -> Json:
    """Log probabilities: lists grow side by side."""
    for key, value in part.items():
        before = whole.get(key)
        if isinstance(before, list):
            whole[key] = [*before, *value] if isinstance(value, list) else before
        else:
            whole[key] = value
    return whole


def _finish_choice(choice: Json) -> Json:
    message = choice.get("message")
    if isinstance(message, dict) and isinstance(calls := message.get("tool_calls"), ToolCalls):
        message["tool_calls"] = calls.calls()
        if not message["tool_calls"]:
            del message["tool_calls"]
    return choice
