"""Write values for a person: pretty, without base64, and never so long that a browser chokes on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from addons.openai.http.binary import size

LONGEST = 40_000
"""Characters of one text that are shown: its first and its last half."""
MOST = 300_000
"""Characters of a whole view. mitmproxy takes 0.2 µs for each, on its event loop."""
MANY = 200
"""Members of a list that are shown."""
FEW_NUMBERS = 16
DEEPEST = 40
BASE64_FROM = 512
"""Characters from which on a text that looks like base64 is taken for it."""

DATA_URL = re.compile(r"data:([^,;]{0,100})[^,]{0,100};base64,")
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256,}")
AUDIO = re.compile(r"(?:^|[._])audio\.delta$|^input_audio_buffer\.append$")


def shortened(text: str, limit: int = LONGEST) -> str:
    """Give `text`, or its two ends around a note of what is left out.

    >>> shortened("abcdefgh", 4)
    'ab\\n[... 4 characters are not shown here ...]\\ngh'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters are not shown here ...]\n{text[-half:]}"


def media(kind: str, data: object) -> str:
    """Give size and type in the place of what base64, or a data URL, stands for; a plain URL as it is."""
    if isinstance(data, Mapping):
        # As `without_binary` leaves it.
        return f"[{kind}, {data.get('bytes', 0):,} bytes]"
    if not isinstance(data, str) or not data:
        return f"[{kind}]"
    if match := DATA_URL.match(data):
        return f"[{match[1] or kind}, {size(data[match.end() :]):,} bytes]"
    if data.startswith(("http://", "https://")):
        return f"[{kind}] {shortened(data, 2000)}"
    return f"[{kind}, {size(data):,} bytes]"


def plain(value: Any, depth: int = 0) -> Any:
    """Give `value` with base64 as its size, number lists as their length, and all of bearable length."""
    if isinstance(value, str):
        return _plain_text(value)
    if depth > DEEPEST:
        return "[nested too deeply to be shown]"
    if isinstance(value, Mapping):
        if AUDIO.search(str(value.get("type"))):
            sound = {"delta", "audio"} & value.keys()
            value = {key: media("audio", item) if key in sound else item for key, item in value.items()}
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > FEW_NUMBERS and all(isinstance(item, int | float) for item in value):
            return f"[{len(value):,} numbers]"
        shown = [plain(item, depth + 1) for item in value[:MANY]]
        if len(value) > MANY:
            shown.append(f"[{len(value) - MANY:,} more are not shown here]")
        return shown
    return value


def _plain_text(text: str) -> str:
    if len(text) < BASE64_FROM:
        return text
    if (match := DATA_URL.match(text)) is not None:
        return media(match[1], text)
    start, end = text[:300], text[-300:].rstrip("=")
    if BASE64.match(start) and BASE64.fullmatch(end) and start != start.lower():
        return media("base64", text)
    return shortened(text)


def pretty(value: Any) -> str:
    """Give indented JSON.

    (`json.dumps` with an indent is written in Python, and takes a second for megabytes.)
    """
    text = json.dumps(plain(value), ensure_ascii=False)
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text  # NaN, or half of a surrogate pair


def pretty_arguments(arguments: object) -> str:
    """Give what a tool is called with: mostly JSON within a text."""
    if not isinstance(arguments, str):
        return pretty(arguments)
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return shortened(arguments)
    return pretty(value) if isinstance(value, dict | list) else shortened(arguments)
