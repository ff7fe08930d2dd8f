"""Leave images and audio out of JSON: megabytes of base64, of which a record keeps the size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from addons.openai.http.json_scan import CutText

NAMES = frozenset({"b64_json", "partial_image_b64", "image_b64"})
"""Keys whose value is base64 wherever they stand."""
SOUNDS = ("input_audio", "output_audio", "audio")
"""Parts of a realtime session's items. No set: a type may be anything, also what has no hash."""
DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
NUMBERS = frozenset({int, float})
LONG = 1024
"""Characters; a shorter data URL is kept."""


def without_binary(value: Any) -> Any:
    """Put ``{"bytes": N}`` in the place of each base64 text of `value`, and of the data in long data URLs."""
    if isinstance(value, Mapping):
        return {key: _member(value, key, item) for key, item in value.items()}
    if isinstance(value, list):
        if NUMBERS.issuperset(map(type, value)):  # an embedding
            return value
        return [without_binary(item) for item in value]
    if isinstance(value, str) and len(value) > LONG and (match := DATA_URL.match(value)):
        return f"{match[0]}[{size(value[match.end() :])} bytes]"
    return value


def _member(holder: Mapping[str, Any], key: str, item: Any) -> Any:
    if isinstance(item, str) and item:
        kind = holder.get("type")
        if (
            key in NAMES
            or (key == "result" and kind == "image_generation_call")
            or (key == "data" and kind == "output_audio")
            or (key == "audio" and kind in SOUNDS)
        ):
            return {"bytes": size(item)}
    if key == "audio" and isinstance(item, Mapping) and isinstance(item.get("data"), str):
        return {**item, "data": {"bytes": size(item["data"])}}
    return without_binary(item)


def size(base64: str) -> int:
    """Count the bytes that base64 stands for, also of several texts joined, each with its padding."""
    if isinstance(base64, CutText):
        return base64.length * 3 // 4
    return sum(len(part) * 3 // 4 for part in base64.split("="))
