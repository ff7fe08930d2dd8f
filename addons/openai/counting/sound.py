"""Find how long a recording is by its first and last bytes.

Nothing of it is decoded. WAV, FLAC, Ogg and M4A state their length; of MP3 it follows from the bit rate. A
header may claim anything: what the bytes cannot hold is not believed, and where they hold more, that is said.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinytag import TinyTag

SLOWEST = 750
"""Bytes a second: Opus at 6 kbit/s."""
FASTEST = 64_000
"""Bytes a second of sound that is compressed with loss: Opus at 510 kbit/s."""
FASTEST_MP3 = 40_000
SPARE = 2**18
"""Bytes of a file that may be something else than sound: titles, a picture."""
HIGHEST_RATE = 768_000
"""Samples a second."""
PLAIN_WAVES = frozenset({1, 3, 6, 7, 0xFFFE})
"""Formats whose samples have one size: PCM, floats, the two laws of telephony, and extensible ones."""
STREAMINFO_END = 42
"""It is that of a FLAC file: its mark and its first block, which has the length."""
OGG = b"OggS\0"
OGG_HEAD = 27
OGG_LAST = 4
"""The flag of a stream's last page."""


@dataclass(frozen=True, slots=True)
class Length:
    seconds: float
    exact: bool = True
    """False where it is estimated from a bit rate."""
    whole: bool = True
    """False where the file holds more than that: a lower bound."""


def length_of(head: bytes, tail: bytes, size: int) -> Length | None:
    """Give the length of a file of `size` bytes; None where it does not show. Never raises."""
    if head[:4] == b"RIFF":
        found = wav_length(head, size)
    elif head[:4] == b"fLaC":
        found = _flac_length(head, size)
    elif head.startswith(OGG):
        found = _ogg_length(head, tail, size)
    elif head[4:8] == b"ftyp":
        found = _mp4_length(head, tail, size)
    elif head[:3] == b"ID3" or _is_mp3_frame(head):
        found = _mp3_length(head, size)
    else:
        return None
    if found is None or not 0 < found.seconds <= size / SLOWEST + 1:
        return None
    return replace(found, seconds=round(found.seconds, 3))


def wav_length(head: bytes, size: int) -> Length | None:
    """Read the length by the chunks `fmt ` and `data`."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    rate, exact, at = 0, False, 12
    while at + 8 <= len(head):
        kind, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if kind == b"fmt " and at + 24 <= len(head):
            rate, exact = _wav_rate(head[at + 8 : at + 24])
        elif kind == b"data":
            held = size - at - 8
            # Who streams writes the largest length, not knowing it yet.
            seconds = min(length, held) / rate if rate else 0
            return Length(seconds, exact, whole=held - length <= SPARE) if seconds > 0 else None
        at += 8 + length + length % 2
    return None


def _wav_rate(fmt: bytes) -> tuple[int, bool]:
    """Give the bytes a second, and whether all seconds have so many."""
    kind, channels = (int.from_bytes(fmt[at : at + 2], "little") for at in (0, 2))
    samples, stated = (int.from_bytes(fmt[at : at + 4], "little") for at in (4, 8))
    if kind not in PLAIN_WAVES:
        return stated, False
    sample = -(-int.from_bytes(fmt[14:16], "little") // 8)
    return (samples * channels * sample if samples <= HIGHEST_RATE else 0), True


def _flac_length(head: bytes, size: int) -> Length | None:
    tag = _read(io.BytesIO(head[:STREAMINFO_END]))
    return None if tag is None else _stated(tag, size)


def _ogg_length(head: bytes, tail: bytes, size: int) -> Length | None:
    """Read the length by the position that the last page states; the first page says what it counts."""
    last = _last_page(tail)
    if last is None or last[14:18] != head[14:18]:  # of another stream: several are in this file
        return None
    last[5] |= OGG_LAST  # it is, whatever its writer knew
    tag = _read(io.BytesIO(head[: _page_end(head, 0)] + last))
    return None if tag is None else _stated(tag, size)


def _last_page(tail: bytes) -> bytearray | None:
    at = tail.rfind(OGG)
    while at >= 0 and _page_end(tail, at) != len(tail):
        at = tail.rfind(OGG, 0, at)
    return bytearray(tail[at:]) if at >= 0 else None


def _page_end(data: bytes, at: int) -> int:
    segments = data[at + OGG_HEAD - 1] if at + OGG_HEAD <= len(data) else 0
    start = at + OGG_HEAD + segments
    return start + sum(data[at + OGG_HEAD : start])


def _mp4_length(head: bytes, tail: bytes, size: int) -> Length | None:
    """Read the length by the header of the whole, which is before the sound or after it: M4A, MP4."""
    tag = _read(Ends(head, tail, size))
    return None if tag is None else _stated(tag, size)


def _stated(tag: TinyTag, size: int) -> Length | None:
    """Give the length that a header states, held against the size."""
    seconds = tag.duration or 0.0
    fastest: float = FASTEST
    if tag.is_lossless:
        fastest = (tag.samplerate or 0) * (tag.channels or 0) * (tag.bitdepth or 0) / 8
    return Length(seconds, whole=size - seconds * fastest <= SPARE) if seconds else None


def _is_mp3_frame(head: bytes) -> bool:
    """Tell whether a frame of MPEG audio begins here; AAC's begin likewise, but name no layer."""
    return len(head) > 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0


def _mp3_length(head: bytes, size: int) -> Length | None:
    """Read the length by the number of frames, where a header has it, else by the bit rate of the first."""
    file = Beginning(head, size)
    tag = _read(file)
    if tag is None or tag.mime_type != "audio/mpeg" or not tag.duration:
        return None
    seconds = tag.duration
    if size > len(head) and file.tell() >= len(head):  # of varying rate: only the beginning was seen
        if not tag.bitrate:
            return None
        seconds += (size - len(head)) / (tag.bitrate * 125)
    return Length(seconds, exact=False, whole=size - seconds * FASTEST_MP3 <= SPARE)


class Beginning(io.BytesIO):
    """Holds the first bytes of a file that is said to be longer."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__(head)
        self._size = size

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            return super().seek(max(0, self._size + offset))
        return super().seek(offset, whence)


class Ends(io.BytesIO):
    """Holds the first and the last bytes of a file; what is between them reads as the end of it."""

    def __init__(self, head: bytes, tail: bytes, size: int) -> None:
        whole = len(head) >= size
        super().__init__(head if whole else head + tail)
        self._head = len(head)
        self._gap = 0 if whole else max(0, size - len(head) - len(tail))
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, len(self.getbuffer()) + self._gap)
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if self._at < self._head:
            super().seek(self._at)
            most = self._head - self._at
        elif self._at < self._head + self._gap:
            return b""
        else:
            super().seek(min(self._at - self._gap, len(self.getbuffer())))
            most = len(self.getbuffer())
        data = super().read(most if size is None or size < 0 else min(size, most))
        self._at += len(data)
        return data


def _read(file: io.BytesIO) -> TinyTag | None:
    from tinytag import TinyTag, TinyTagException  # noqa: PLC0415 - few calls have sound

    try:
        return TinyTag.get(file_obj=file, tags=False)
    except TinyTagException:
        return None
