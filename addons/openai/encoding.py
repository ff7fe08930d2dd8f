"""Content codings (RFC 9110 section 8.4), decoded as the bytes come, tolerant of what servers really send.

A decoder never raises: it gives what can be decoded and remembers that something could not. A stream that
breaks off gives all that came before the break.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import brotli
import zstandard

BUDGET = 256 * 2**20
"""Decoded bytes of one body, by default: a few hundred bytes can stand for gigabytes."""
PIECE = 2**20
"""About the largest piece, in bytes, that a layer gives at a time, so that a bomb is noticed early."""
ZSTD_WINDOW = 2**27
"""Largest zstd window, in bytes (RFC 8878 asks decoders for 8 MB at least)."""


def codings_of(content_encoding: str | None) -> tuple[str, ...]:
    """The codings of a ``Content-Encoding`` header in the order in which they were applied.

    >>> codings_of("gzip, BR, identity")
    ('gzip', 'br')
    """
    names = (name.strip().lower() for name in (content_encoding or "").split(","))
    return tuple(name.removeprefix("x-") for name in names if name not in ("", "identity"))


class Coding(Protocol):
    """One layer. `feed` gives pieces of bounded size, and may raise; :class:`Decoder` deals with that."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


def _inflate(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    full = True
    while data or full:
        piece = inflate.decompress(data, PIECE)
        full = len(piece) == PIECE  # then there may be more, even without input
        data = inflate.unconsumed_tail
        yield piece


class Gzip:
    """RFC 1952, any number of members; what follows the last one is ignored, as gzip itself does."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                if data[:1] != b"\x1f":
                    break
                self._member = zlib.decompressobj(wbits=31)
            yield from _inflate(self._member, data)
            data = self._member.unused_data


class Deflate:
    """The zlib format (RFC 1950), as the standard says, or bare deflate (RFC 1951), as some servers send."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._start = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj() if wrapped else zlib.decompressobj(wbits=-15)
        yield from _inflate(self._stream, data)


class Brotli:
    """RFC 7932."""

    LIMITED = "output_buffer_limit" in (brotli.Decompressor.process.__doc__ or "")
    """Whether the library can bound its output (from 1.2 on, which the last mitmproxy for 3.11 excludes)."""
    BITE = 4
    """Else: a command of a few bytes may stand for 16 MB."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        return self._limited(data) if self.LIMITED else self._small_bites(data)

    def _limited(self, data: bytes) -> Iterator[bytes]:
        while not self._decompressor.is_finished():
            yield self._decompressor.process(data, output_buffer_limit=PIECE)
            if self._decompressor.can_accept_more_data():
                break
            data = b""

    def _small_bites(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self.BITE):
            if self._decompressor.is_finished():
                break
            yield self._decompressor.process(data[start : start + self.BITE])


class Zstd:
    """RFC 8878, any number of frames."""

    BITE = 256
    """A block of four bytes may stand for 128 kB."""

    def __init__(self) -> None:
        self._frame = self._new()

    def _new(self) -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self.BITE):
            bite = data[start : start + self.BITE]
            while bite:
                if self._frame.eof:
                    self._frame = self._new()
                yield self._frame.decompress(bite)
                bite = self._frame.unused_data if self._frame.eof else b""


LAYERS: dict[str, Callable[[], Coding]] = {
    "gzip": Gzip,
    "deflate": Deflate,
    "br": Brotli,
    "zstd": Zstd,
}


class Decoder:
    """Undoes a chain of codings, incrementally.

    >>> import gzip
    >>> decoder = Decoder(["gzip"])
    >>> decoder.feed(gzip.compress(b"data: 1"))
    b'data: 1'
    """

    def __init__(self, codings: Sequence[str], *, budget: int = BUDGET) -> None:
        self.error: str | None = None
        """Why decoding stopped before the end; None while all is well."""
        self._budget = budget
        unknown = [name for name in codings if name not in LAYERS]
        if unknown:
            self.error = f"unknown content coding {unknown[0]!r}"
        self._layers = [] if unknown else [LAYERS[name]() for name in reversed(codings)]

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the decoded body. Once something failed: nothing more."""
        if self.error is not None:
            return b""
        pieces = []
        try:
            for piece in self._through(self._layers, data):
                pieces.append(piece[: self._budget])
                self._budget -= len(piece)
                if self._budget < 0:
                    self.error = "the decoded body is larger than the limit"
                    break
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            self.error = f"content coding is broken: {error}"
        return b"".join(pieces)

    def _through(self, layers: Sequence[Coding], data: bytes) -> Iterator[bytes]:
        if not layers:
            yield data
            return
        for piece in layers[0].feed(data):
            yield from self._through(layers[1:], piece)


def decode(data: bytes, content_encoding: str | None, *, budget: int = BUDGET) -> tuple[bytes, str | None]:
    """The decoded body as far as it goes, and why it goes no further (None: it is whole, or just cut off)."""
    decoder = Decoder(codings_of(content_encoding), budget=budget)
    return decoder.feed(data), decoder.error
