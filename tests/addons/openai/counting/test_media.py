"""Images and sounds whose size is in view: made here, byte by byte."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.counting import media
from addons.openai.counting.media import IMAGES, Patches, Tiles, image_size
from addons.openai.counting.model import Model
from addons.openai.counting.sound import Length, wav_length
from addons.openai.counting.tally import Tally


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\2\0\0\0"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"


def jpeg(width: int, height: int) -> bytes:
    """With metadata before the frame, as cameras write it, a Huffman table, and a fill byte."""
    exif = b"\xff\xe1" + struct.pack(">H", 5002) + bytes(5000)
    table = b"\xff\xc4" + struct.pack(">H", 4) + b"\0\0"
    frame = b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + exif + table + frame


def webp(kind: bytes, data: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + struct.pack("<I", len(data)) + data.ljust(20, b"\0")


LOSSY = webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 300 | 1 << 14, 200))
LOSSLESS = webp(b"VP8L", b"\x2f" + struct.pack("<I", (300 - 1) | (200 - 1) << 14))
EXTENDED = webp(b"VP8X", b"\0\0\0\0" + (299).to_bytes(3, "little") + (199).to_bytes(3, "little"))


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "data", [png(300, 200), gif(300, 200), jpeg(300, 200), LOSSY, LOSSLESS, EXTENDED], ids=range(6)
)
def test_sizes(data: bytes) -> None:
    assert image_size(url(data)) == (300, 200)
    for end in range(len(data) // 2):
        assert image_size(url(data[:end])) is None or end >= 24


@pytest.mark.parametrize(
    "bad",
    [
        "https://example.com/a.png",
        "data:image/png,abc",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        url(png(0, 5)),
        url(b"\xff\xd8\xff\xe1\0\0" * 20),
        url(b"\xff\xd8abc" + bytes(50)),
        url(webp(b"VP9 ", b"")),
        url(b"<svg/>", "image/svg+xml"),
        "",
    ],
)
def test_no_size(bad: str) -> None:
    assert image_size(bad) is None


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WAVE"])
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    size = image_size(url(start + data))
    assert size is None or min(size) > 0
    found = wav_length(start + data, len(start + data))
    assert found is None or found.seconds > 0


def cost(
    model: str, width: int, height: int, detail: str = "auto"
) -> tuple[int, dict[Any, None], dict[Any, None]]:
    tally = Tally()
    part = {"image_url": {"url": url(png(width, height)), "detail": detail}}
    media.count_image(tally, Model.of(model), part)
    return tally.tokens, tally.missing, tally.approximate


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gpt-4o-mini-2024-07-18", 512, 512, 2833 + 5667),
        ("gpt-4-1106-vision-preview", 800, 400, 85 + 2 * 170),
        ("gpt-4o-2024-08-06", 1024, 1024, 85 + 4 * 170),  # the guide's own example: 765
        ("gpt-4o", 2048, 4096, 85 + 6 * 170),  # and 1105
        ("gpt-4.1", 100, 100, 85 + 170),
        ("o3", 1024, 1024, 75 + 4 * 150),
        ("gpt-5-2025-08-07", 1024, 1024, 70 + 4 * 140),
        ("gpt-5.4-2026-03-05", 60, 30, 4),
        ("gpt-4.1-mini", 128, 64, 14),  # 8 patches x 1.62, rounded up, and 1
        ("gpt-4.1-nano", 128, 64, 21),
        ("o4-mini", 128, 64, 15),
    ],
)
def test_costs(model: str, width: int, height: int, tokens: int) -> None:
    found, missing, _ = cost(model, width, height)
    assert (found, missing) == (tokens, {})


def test_patches_are_limited() -> None:
    """The guide's example: 1800 x 2400 is scaled to 33 x 44 = 1452 patches."""
    assert Patches(1.0).cost(1800, 2400, low=False) == 1452 + 1
    assert Patches(1.0).cost(100_000, 3, low=False) == 1536 + 1


def test_low_detail_costs_the_base_at_any_size() -> None:
    assert cost("gpt-4o-mini", 4000, 4000, "low")[0] == 2833
    tally = Tally()
    by_url = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}
    media.count_image(tally, Model.of("gpt-4o-mini"), by_url)
    assert (tally.tokens, tally.missing) == (2833, {})


def test_only_what_was_measured_is_exact() -> None:
    assert cost("gpt-4o-mini", 10, 10)[2] == {}
    assert list(cost("gpt-5-mini", 10, 10)[2]) == ["images"]


def test_an_image_out_of_view_or_for_an_unknown_model_is_missing() -> None:
    assert list(cost("llama-99", 10, 10)[1]) == ["images"]
    tally = Tally()
    media.count_image(tally, Model.of("gpt-4o"), {"file_id": "file-1"})
    assert (tally.tokens, list(tally.missing)) == (0, ["images"])


@given(st.integers(1, 2**32), st.integers(1, 2**32), st.booleans())
def test_no_size_is_free_or_beyond_the_limits(width: int, height: int, low: bool) -> None:
    for _, way in IMAGES:
        limit = way.base + way.tile * 8 if isinstance(way, Tiles) else way.most * way.factor + 2
        assert 0 < way.cost(width, height, low=low) <= limit


def wav(seconds: float, *, length: int | None = None) -> str:
    """16-bit mono at 8000 a second, with a chunk of notes before the sound."""
    sound = bytes(int(seconds * 8000) * 2)
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", 16) + form
    data = b"data" + struct.pack("<I", len(sound) if length is None else length) + sound
    return base64.b64encode(b"RIFF\0\0\0\0WAVE" + chunks + data).decode()


@pytest.mark.parametrize(("seconds", "tokens"), [(0.135, 1), (0.2, 2), (0.4, 4), (3.0, 30)])
def test_audio(seconds: float, tokens: int) -> None:
    tally = Tally()
    media.count_audio(tally, {"data": wav(seconds), "format": "wav"})
    assert (tally.tokens, tally.missing) == (tokens + 4, {})


def test_a_length_that_was_not_known_when_it_was_written() -> None:
    data = base64.b64decode(wav(2.0, length=0xFFFFFFFF))
    assert wav_length(data, len(data)) == Length(2.0)


@pytest.mark.parametrize("audio", [{}, {"data": 7, "format": "wav"}, {"data": "AAAA", "format": "mp3"}])
def test_audio_out_of_view(audio: dict[str, Any]) -> None:
    tally = Tally()
    media.count_audio(tally, audio)
    assert (tally.tokens, list(tally.missing)) == (0, ["audio"])
