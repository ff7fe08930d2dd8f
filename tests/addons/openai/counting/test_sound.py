"""The length of recordings, made here byte by byte: WAV, FLAC, Ogg, MP3, and headers that lie."""

from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.counting.sound import SPARE, Length, length_of
from addons.openai.http.form import ENDS

YEAR = 365 * 24 * 3600


def measured(data: bytes, size: int | None = None) -> Length | None:
    """As from a form: by the ends of a file, and its size."""
    return length_of(data[:ENDS], data[-ENDS:], len(data) if size is None else size)


def wav(seconds: float, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(int(seconds * rate) * 4))
    return file.getvalue()


def fmt(kind: int, byte_rate: int, sample_rate: int = 8000) -> bytes:
    return struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, sample_rate, byte_rate, 1, 8)


def riff(*chunks: bytes) -> bytes:
    return b"RIFF\0\0\0\0WAVE" + b"".join(chunks)


def flac(samples: int, size: int, rate: int = 44_100) -> bytes:
    """16 bits, stereo."""
    info = struct.pack(">HH", 4096, 4096) + bytes(6)
    info += (rate << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    return (b"fLaC\x80" + len(info).to_bytes(3, "big") + info).ljust(size, b"\1")


def page(packet: bytes, granule: int, flags: int = 0, serial: int = 7) -> bytes:
    sizes = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    return struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, 0, 0, len(sizes)) + sizes + packet


OPUS = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 312, 48_000, 0, 0)
VORBIS = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 16_000, 0, 32_000, 0, 0, 1)


def ogg(first: bytes, granule: int, *, pages: int = 12, last: int = 4, serial: int = 7) -> bytes:
    """`pages` of 10,000 bytes each; the last one states `granule`."""
    between = [page(bytes(10_000), granule * number // pages) for number in range(1, pages)]
    return page(first, 0, 2) + b"".join(between) + page(bytes(10_000), granule, last, serial)


FRAME = b"\xff\xe3\x18\xc4".ljust(72, b"\0")
"""MPEG 2.5, layer III, 8 kbit/s at 8,000 samples a second: 72 ms."""
BETTER = b"\xff\xe3\x28\xc4".ljust(144, b"\0")
"""The same at 16 kbit/s."""


def xing(frames: int, size: int) -> bytes:
    return (b"\xff\xe3\x18\xc4" + bytes(9) + b"Xing" + struct.pack(">III", 3, frames, size)).ljust(72, b"\0")


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def movie(seconds: float, scale: int = 1000) -> bytes:
    return box(b"moov", box(b"mvhd", bytes(12), struct.pack(">II", scale, int(seconds * scale)), bytes(80)))


M4A = box(b"ftyp", b"M4A \0\0\0\0")
"""How a file of this kind begins."""


EXACT = {
    "m4a": (M4A + movie(20) + box(b"mdat", bytes(300_000)), 20.0),
    "m4a-whose-header-is-last": (M4A + box(b"mdat", bytes(300_000)) + movie(20), 20.0),
    "m4a-that-is-short": (M4A + box(b"mdat", bytes(3000)) + movie(1.5), 1.5),
    "wav": (wav(2.5), 2.5),
    "wav-longer-than-what-is-kept": (wav(30), 30.0),
    "wav-streamed": (riff(fmt(1, 8000), b"data\xff\xff\xff\xff", bytes(4000)), 0.5),
    "wav-a-law": (
        riff(fmt(6, 8000), b"LIST\3\0\0\0abc\0", b"data", struct.pack("<I", 4000), bytes(4000)),
        0.5,
    ),
    "wav-whose-rate-lies": (riff(fmt(1, 2**32 - 1), b"data", struct.pack("<I", 4000), bytes(4000)), 0.5),
    "flac": (flac(44_100 * 3, 200_000), 3.0),
    "opus": (ogg(OPUS, 48_000 * 20 + 312), 20.0),
    "opus-never-ended": (ogg(OPUS, 48_000 * 20 + 312, last=0), 20.0),
    "vorbis": (ogg(VORBIS, 16_000 * 30), 30.0),
    "ogg-that-is-short": (ogg(VORBIS, 16_000 * 3, pages=1), 3.0),
}


@pytest.mark.parametrize(("data", "seconds"), EXACT.values(), ids=EXACT)
def test_a_stated_length_is_exact(data: bytes, seconds: float) -> None:
    assert measured(data) == Length(seconds)


ESTIMATED = {
    "constant": (FRAME * 6, 0.432),
    "constant-longer-than-what-is-kept": (FRAME * 2000, 144.0),
    "with-titles": (b"ID3\4\0\0\0\0\1\0" + bytes(128) + FRAME * 100, 7.2),
    "stated": (xing(1000, 72_072) + FRAME * 1000, 72.0),
    "varied": ((FRAME * 2 + BETTER) * 100, 21.6),
    "varied-longer-than-what-is-kept": ((FRAME * 2 + BETTER) * 1000, 216.0),
}


@pytest.mark.parametrize(("data", "seconds"), ESTIMATED.values(), ids=ESTIMATED)
def test_the_length_of_an_mp3_is_an_estimate(data: bytes, seconds: float) -> None:
    found = measured(data)
    assert found is not None
    assert (found.exact, found.whole) == (False, True)
    assert found.seconds == pytest.approx(seconds, rel=0.05)


def test_a_wav_that_is_compressed_is_an_estimate() -> None:
    data = riff(fmt(0x55, 2000), b"data", struct.pack("<I", 4000), bytes(4000))
    assert measured(data) == Length(2.0, exact=False)


UNKNOWN = {
    "nothing": b"",
    "text": b"xxxxxxxx",
    "webm": b"\x1aE\xdf\xa3" + bytes(1000),
    "m4a-without-a-header": M4A + box(b"mdat", bytes(300_000)),
    "m4a-in-fragments": M4A + movie(0) + box(b"mdat", bytes(300_000)),
    "m4a-of-a-year": M4A + movie(YEAR, 1) + box(b"mdat", bytes(300_000)),
    "m4a-whose-header-is-in-the-middle": M4A
    + box(b"free", bytes(ENDS))
    + movie(20)
    + box(b"mdat", bytes(300_000)),
    "aac": b"\xff\xf1\x50\x80" + bytes(1000),
    "wav-without-sound": riff(fmt(1, 8000)),
    "wav-of-no-length": riff(fmt(1, 8000), b"data\0\0\0\0", bytes(4000)),
    "wav-without-a-format": riff(b"data\xff\xff\xff\xff", bytes(4000)),
    "wav-of-a-year": riff(fmt(1, 1, 1), b"data\xff\xff\xff\xff", bytes(4000)),
    "wav-of-a-year-compressed": riff(fmt(2, 1), b"data\xff\xff\xff\xff", bytes(4000)),
    "wav-of-4-GHz": riff(fmt(1, 1, 2**32 - 1), b"data\xff\xff\xff\xff", bytes(4000)),
    "flac-of-a-year": flac(8000 * YEAR // 4, 200_000, 8000),
    "flac-that-does-not-say": flac(0, 200_000),
    "flac-without-a-rate": flac(44_100, 200_000, 0),
    "flac-cut": flac(44_100, 200_000)[:20],
    "ogg-of-a-year": ogg(OPUS, 48_000 * YEAR),
    "ogg-before-its-start": ogg(OPUS, -1),
    "ogg-cut": ogg(OPUS, 48_000 * 20)[:-1],
    "ogg-of-two-streams": ogg(OPUS, 48_000 * 20, serial=8),
    "ogg-of-pictures": ogg(b"\x80theora" + bytes(40), 1000),
    "mp3-of-a-year": xing(YEAR * 13, 72_072) + FRAME * 1000,
    "mp3-behind-a-picture": b"ID3\4\0\0\0\x08\0\0" + bytes(131_072) + FRAME * 1000,
    "mp3-without-a-frame": b"ID3\4\0\0\0\0\0\0" + bytes(1000),
}


@pytest.mark.parametrize("data", UNKNOWN.values(), ids=UNKNOWN)
def test_a_length_that_does_not_show_or_cannot_be(data: bytes) -> None:
    assert measured(data) is None


HOLDS_MORE = {
    "wav": riff(fmt(1, 8000), b"data", struct.pack("<I", 8000), bytes(8000 + SPARE + 1)),
    "flac": flac(44_100, 44_100 * 4 + SPARE + 1),
    "opus": ogg(OPUS, 48_000 + 312, pages=40),
    "m4a": M4A + movie(1) + box(b"mdat", bytes(64_000 + SPARE)),
    "mp3": xing(14, 300_000) + FRAME * 5000,
}


@pytest.mark.parametrize("data", HOLDS_MORE.values(), ids=HOLDS_MORE)
def test_a_length_that_is_less_than_the_file_holds_is_a_lower_bound(data: bytes) -> None:
    found = measured(data)
    assert found is not None
    assert not found.whole
    assert found.seconds == pytest.approx(1.0, abs=0.01)


STARTS = [
    b"RIFF\0\0\0\0WAVE",
    b"fLaC",
    page(OPUS, 0, 2),
    page(VORBIS, 0, 2),
    b"ID3\4\0\0",
    M4A,
    M4A + b"\0\0\0\x10moov\0\0\0\x08mvhd",
    FRAME,
    b"OggS\0",
    b"\xff",
]


@given(st.sampled_from(STARTS), st.binary(max_size=300), st.binary(max_size=100), st.integers(0, 2**40))
def test_any_bytes(start: bytes, rest: bytes, tail: bytes, size: int) -> None:
    for data in (start + rest, start[: len(rest)]):
        found = length_of(data, tail, size)
        assert found is None or 0 < found.seconds <= size / 750 + 1


@pytest.mark.parametrize("data", EXACT.values(), ids=EXACT)
def test_a_cut_anywhere(data: tuple[bytes, float]) -> None:
    for end in range(0, min(len(data[0]), 200)):
        assert length_of(data[0][:end], b"", end) is None or end > 44


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xe3", b"OggS\0", b"ID3", b"\0", b"\xff\xe3\x18\xc4"])
@pytest.mark.timeout(30)
def test_garbage_takes_little_time_and_is_never_exact(filler: bytes) -> None:
    garbage = (filler * ENDS)[:ENDS]
    for start in STARTS:
        found = length_of((start + garbage)[:ENDS], garbage, 2**32)
        assert found is None or not found.exact
