"""A stream of chunks becomes the object that the same call returns without streaming: chat and completions.

Fields that are not known here are kept by the shape of their values: text is joined, lists are appended,
anything else is replaced by what comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

PADDING = "obfuscation"
"""Random text that hides the length of what is sent; it is not part of the answer."""


def chat(chunks: Iterable[Json]) -> Json | None:
    """``chat.completion.chunk`` objects -> ``chat.completion``; None where there is no chunk."""
    return _assemble(chunks, "chat.completion", _add_chat_choice)


def completion(chunks: Iterable[Json]) -> Json | None:
    """Chunks of the legacy endpoint -> ``text_completion``."""
    return _assemble(chunks, "text_completion", _add_text_choice)


def _assemble(chunks: Iterable[Json], kind: str, add_choice: Any) -> Json | None:
    whole: Json = {}
    choices: dict[int, Json] = {}
    seen = False
    for chunk in chunks:
        seen = True
        _add_top_level(whole, chunk)
        for choice in _objects(chunk.get("choices")):
            index = _index(choice)
            add_choice(choices.setdefault(index, {"index": index}), choice)
    if not seen:
        return None
    usage = whole.pop("usage", None)
    whole["object"] = kind
    whole["choices"] = [_finish_choice(choices[index]) for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return whole


def _add_top_level(whole: Json, chunk: Json) -> None:
    for key, value in chunk.items():
        if key in ("choices", "object", PADDING):
            continue
        if key in ("id", "created", "model", "system_fingerprint", "service_tier"):
            # Azure's first chunk has an empty id and model.
            whole[key] = whole.get(key) or value
        elif value is not None:
            whole[key] = value


def _add_chat_choice(choice: Json, part: Json) -> None:
    message = choice.setdefault("message", {"role": "assistant", "content": None})
    delta = part.get("delta")
    if isinstance(delta, Mapping):
        for key, value in delta.items():
            _add_delta(message, key, value)
    _add_rest(choice, part, {"delta"})


def _add_text_choice(choice: Json, part: Json) -> None:
    choice["text"] = choice.get("text", "") + _text(part.get("text"))
    _add_rest(choice, part, {"text"})


def _add_rest(choice: Json, part: Json, done: set[str]) -> None:
    """finish_reason, logprobs, and what servers add of their own."""
    for key, value in part.items():
        if key in done or key == "index":
            continue
        if key == "logprobs" and isinstance(value, Mapping):
            logprobs = choice.get(key)
            choice[key] = _extend(logprobs if isinstance(logprobs, dict) else {}, value)
        elif value is not None or key not in choice:
            choice[key] = value


def _add_delta(message: Json, key: str, value: Any) -> None:
    if key == PADDING or (value is None and key in message):
        return
    if key == "role":
        message[key] = value or message.get(key)
    elif key == "tool_calls":
        calls: dict[Any, Json] = _object(message, key)
        for call in _objects(value):
            _add_call(calls.setdefault(_index(call), {}), call)
    elif key == "function_call" and isinstance(value, Mapping):
        _add_call(_object(message, key), value)
    elif key == "audio" and isinstance(value, Mapping):
        message[key] = _join(_object(message, key), value)
    else:
        message[key] = _joined(message.get(key), value)


def _add_call(call: Json, part: Mapping[str, Any]) -> None:
    """A fragment of a call: its first one names it, the later ones only carry more arguments."""
    for key, value in part.items():
        if key == "index":
            continue
        if isinstance(value, Mapping):
            _add_call(_object(call, key), value)
        elif key in ("arguments", "input"):
            call[key] = _text(call.get(key)) + _text(value)
        elif value or key not in call:
            call[key] = value


def _join(whole: Json, part: Mapping[str, Any]) -> Json:
    for key, value in part.items():
        if key in ("data", "transcript"):
            whole[key] = _text(whole.get(key)) + _text(value)
        elif value is not None:
            whole[key] = value
    return whole


def _joined(before: Any, value: Any) -> Any:
    if isinstance(before, str) and isinstance(value, str):
        return before + value
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    return before if value is None else value


def _extend(whole: Json, part: Mapping[str, Any]) -> Json:
    """Log probabilities: lists grow side by side."""
    for key, value in part.items():
        before = whole.get(key)
        whole[key] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value
    return whole


def _finish_choice(choice: Json) -> Json:
    message = choice.get("message")
    if isinstance(message, dict) and isinstance(message.get("tool_calls"), dict):
        message["tool_calls"] = [call for _, call in sorted(message["tool_calls"].items())]
    return choice


def _object(holder: Json, key: str) -> dict[Any, Any]:
    """The object at `key`, made if there is none: a server may have put anything there before."""
    value = holder.get(key)
    if not isinstance(value, dict):
        value = holder[key] = {}
    return value


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _index(part: Mapping[str, Any]) -> int:
    index = part.get("index")
    return index if isinstance(index, int) else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
