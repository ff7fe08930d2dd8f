"""Count images and audio within a request, where their size is in view.

https://platform.openai.com/docs/guides/images-vision#calculating-costs tells how images are cut into tiles or
patches. Only what recorded calls confirmed counts as exact; the rest is marked as approximate.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.sound import wav_length
from addons.openai.counting.tally import Tally, mapping

HEAD = 1 << 20
"""Characters of base64 looked at for an image's size; metadata may come before it."""
TILE = 512
PATCH = 32
AUDIO_PER_SECOND = 10
AUDIO_TEXT = 4
"""Text tokens around an audio part."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Counts tokens of an image: a base, and more for each square of 512 pixels after scaling."""

    base: int
    tile: int
    measured: bool = False

    def cost(self, width: int, height: int, *, low: bool) -> int:
        if low:
            return self.base
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        across, down = (math.ceil(round(side * scale, 6) / TILE) for side in (width, height))
        return self.base + self.tile * across * down


@dataclass(frozen=True, slots=True)
class Patches:
    """Counts tokens of an image: squares of 32 pixels, at most `most` after scaling, by a factor, and one."""

    factor: float
    most: int = 1536
    measured: bool = False

    def cost(self, width: int, height: int, *, low: bool) -> int:  # noqa: ARG002 - detail changes nothing here
        count = math.ceil(width / PATCH) * math.ceil(height / PATCH)
        if count > self.most:
            # Scaled so that the patches across and down, one of them whole, stay within the limit.
            scale = math.sqrt(self.most / (width * height))
            across, down = width * scale, height * scale
            if min(across, down) >= 1:
                shrink = min(math.floor(across) / across, math.floor(down) / down)
                count = math.ceil(round(across * shrink, 6)) * math.ceil(round(down * shrink, 6))
        return math.ceil(min(count, self.most) * self.factor) + 1


# (pattern of the model's name, how its images cost); the first match counts.
IMAGES: tuple[tuple[re.Pattern[str], Tiles | Patches], ...] = (
    (re.compile(r"gpt-4o-mini"), Tiles(2833, 5667, measured=True)),
    (re.compile(r"gpt-4-(?:turbo|vision|1106)"), Tiles(85, 170, measured=True)),
    (re.compile(r"gpt-4\.1-mini"), Patches(1.62)),
    (re.compile(r"gpt-4\.1-nano"), Patches(2.46)),
    (re.compile(r"gpt-5-nano"), Patches(1.5)),
    (re.compile(r"gpt-5-mini|gpt-5\.[2-9]"), Patches(1.2)),
    (re.compile(r"o4-mini"), Patches(1.72)),
    (re.compile(r"gpt-4o|gpt-4\.1|gpt-4\.5|chatgpt-4o"), Tiles(85, 170)),
    (re.compile(r"gpt-5(?:$|-20|-chat|\.1(?!\d))"), Tiles(70, 140)),
    (re.compile(r"o1|o3"), Tiles(75, 150)),
    (re.compile(r"computer-use"), Tiles(65, 129)),
)


def count_image(tally: Tally, model: Model, part: Mapping[str, Any]) -> None:
    """Count an `image_url` part of chat, or an `input_image` of the Responses API."""
    given = part.get("image_url")
    holder = mapping(given)
    url = given if isinstance(given, str) else holder.get("url")
    low = (holder.get("detail") or part.get("detail")) == "low"
    way = next((way for pattern, way in IMAGES if pattern.match(model.name)), None)
    size = image_size(url) if isinstance(url, str) else None
    if isinstance(way, Tiles) and low:
        size = size or (1, 1)  # it costs the same at any size
    if way is None or size is None:
        tally.lack("images")
        return
    tally.add(way.cost(*size, low=low))
    if not way.measured:
        tally.guess("images")


def image_size(url: str) -> tuple[int, int] | None:
    """Give width and height, in pixels, of a PNG, JPEG, GIF or WebP in a ``data:`` URL; else None."""
    head = url[:HEAD].partition(",")
    if url[:5].lower() != "data:" or ";base64" not in head[0].lower():
        return None
    data = _decoded(head[2])
    size = _png(data) or _gif(data) or _webp(data) or _jpeg(data)
    return size if size and min(size) > 0 else None


def _png(data: bytes) -> tuple[int, int] | None:
    """Read the size of a PNG (https://www.w3.org/TR/png-3/#11IHDR)."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _gif(data: bytes) -> tuple[int, int] | None:
    """Read the size of a GIF (https://www.w3.org/Graphics/GIF/spec-gif89a.txt, section 18)."""
    if data[:6] not in (b"GIF87a", b"GIF89a") or len(data) < 10:
        return None
    width, height = struct.unpack("<HH", data[6:10])
    return width, height


def _webp(data: bytes) -> tuple[int, int] | None:
    """Read the size of a WebP (RFC 9649): lossy, lossless, extended."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Give the first frame header, SOF (ITU-T T.81, annex B)."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def count_audio(tally: Tally, audio: Mapping[str, Any]) -> None:
    """Count an `input_audio`, ten tokens a second; its length is in view where it is not compressed."""
    data = audio.get("data")
    found = None
    if isinstance(data, str) and audio.get("format") == "wav":
        found = wav_length(_decoded(data[:HEAD]), len(data) * 3 // 4)
    if found is None:
        tally.lack("audio")
        return
    tally.add(AUDIO_TEXT + max(1, round(AUDIO_PER_SECOND * found.seconds)))


def _decoded(text: str) -> bytes:
    """Decode base64, as far as it goes."""
    clean = re.sub(r"[^A-Za-z0-9+/]", "", text)
    try:
        return base64.b64decode(clean[: len(clean) // 4 * 4])
    except binascii.Error:
        return b""
