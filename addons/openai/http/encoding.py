"""Decode content codings (RFC 9110 section 8.4) as the bytes come, tolerant of what servers really send.

A decoder never raises: it gives what can be decoded and remembers that something could not. A stream that
breaks off gives all that came before the break. It does no more work than its budget allows: a megabyte of
gzip can stand for a gigabyte, and a chain of codings for far more.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import brotli
import zstandard

PLAIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[{\[]|data:|event:|:)")
"""It says how a body begins that is not coded at all."""
NOT_DEFLATE = re.compile(rb'\{[\s"}]|\[[\s\[\]{"\dtfn-]|:[ \r\n]|\n\s*[{\[]')
"""It says how a plain body may begin that would pass for bare deflate, which has no signature: for a block of
fixed codes, whose first letter no JSON or event stream begins with. Other plain bodies break at their
start."""
BUDGET = 128 * 2**20
"""Bytes that the layers of one body may give, all together, by default: less than a second of work."""
PIECE = 2**20
"""About the largest piece, in bytes, that a layer gives at a time, so that a bomb is noticed early."""
PIECE_COST = 64
"""It is what a piece costs beside its bytes: a body can also be made of millions of pieces of nothing."""
ZSTD_WINDOW = 8 * 2**20
"""Largest zstd window, in bytes: what RFC 9659 allows in HTTP. The decoder holds that much memory."""
MOST_MEMBERS = 10_000
"""Gzip members or zstd frames of one body: to begin one costs far more than its twenty bytes of input."""
MOST_LAYERS = 4
"""Codings of one body; each holds memory of its own. Servers send one, gateways at times two."""


def codings_of(content_encoding: str | None) -> tuple[str, ...]:
    """Give the codings of a ``Content-Encoding`` header in the order in which they were applied.

    >>> codings_of("gzip, BR, identity")
    ('gzip', 'br')
    """
    names = (name.strip().lower() for name in (content_encoding or "").split(","))
    return tuple(name.removeprefix("x-") for name in names if name not in ("", "identity"))


class Coding(Protocol):
    """Undoes one layer.

    `feed` gives pieces of bounded size, and may raise; :class:`Decoder` deals with that.
    """

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def ended(self) -> bool:
        """Tell whether what was fed is whole."""
        ...


def _inflate(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    full = True
    while data or full:
        piece = inflate.decompress(data, PIECE)
        full = len(piece) == PIECE  # then there may be more, even without input
        data = inflate.unconsumed_tail
        yield piece


class Gzip:
    """Decodes RFC 1952, any number of members; what follows the last one is ignored, as gzip itself does."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._members = 1

    @property
    def ended(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                if data[:1] != b"\x1f":
                    break
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise zlib.error(f"more than {MOST_MEMBERS} members")
                self._member = zlib.decompressobj(wbits=31)
            yield from _inflate(self._member, data)
            data = self._member.unused_data


class Deflate:
    """Decodes zlib (RFC 1950), as the standard says, or bare deflate (RFC 1951), as some servers send."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._start = b""

    @property
    def ended(self) -> bool:
        return self._stream is not None and self._stream.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._start = self._start + data
            if len(data) < 2:
                return
            wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            if not wrapped and NOT_DEFLATE.match(data):
                raise zlib.error("it is plain text")
            self._stream = zlib.decompressobj() if wrapped else zlib.decompressobj(wbits=-15)
        yield from _inflate(self._stream, data)


class Brotli:
    """Decodes RFC 7932."""

    LIMITED = "output_buffer_limit" in (brotli.Decompressor.process.__doc__ or "")
    """It tells whether the library can bound its output (from 1.2 on, which the last mitmproxy for 3.11
    excludes)."""
    BITE = 4
    """Else: a command of a few bytes may stand for 16 MB."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._decompressor.is_finished())

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
    """Decodes RFC 8878, any number of frames."""

    BITE = 64
    """A block of four bytes may stand for 128 kB: a bite for 2 MB."""

    def __init__(self) -> None:
        self._frame = self._new()
        self._frames = 1

    @property
    def ended(self) -> bool:
        return self._frame.eof

    def _new(self) -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self.BITE):
            bite = data[start : start + self.BITE]
            while bite:
                if self._frame.eof:
                    self._frames += 1
                    if self._frames > MOST_MEMBERS:
                        raise zstandard.ZstdError(f"more than {MOST_MEMBERS} frames")
                    self._frame = self._new()
                yield self._frame.decompress(bite)
                bite = self._frame.unused_data if self._frame.eof else b""


class UnknownCoding(Exception):
    """Says that a coding is not known here; the text names it."""


class Unknown:
    """Such a coding: what it is over is read only where it is not coded at all."""

    ended = False

    def __init__(self, name: str) -> None:
        self._name = name

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            raise UnknownCoding(f"unknown content coding {self._name!r}")
        return iter(())


LAYERS: dict[str, Callable[[], Coding]] = {
    "gzip": Gzip,
    "deflate": Deflate,
    "br": Brotli,
    "zstd": Zstd,
}


class _Exhausted(Exception):
    """The budget is used up."""


class Decoder:
    """Undoes a chain of codings, incrementally.

    >>> import gzip
    >>> decoder = Decoder(["gzip"])
    >>> decoder.feed(gzip.compress(b"data: 1"))
    b'data: 1'
    """

    def __init__(self, codings: Sequence[str], *, budget: int = BUDGET, takes_plain: bool = True) -> None:
        self.error: str | None = None
        """It says why decoding stopped before the end; None while all is well."""
        self.waiting = 0
        """Coded bytes that were pushed and not yet begun."""
        self.done = True
        """It tells whether all that was pushed is decoded, as far as it can be."""
        self._first: bytes | None = b"" if takes_plain else None
        """It is what was begun before anything was decoded, to take it as it is if it is plain; then None."""
        self._budget = budget
        self._spent = 0
        self._inputs: deque[bytes] = deque()
        self._pieces: Iterator[bytes] = iter(())
        unknown = [name for name in codings if name not in LAYERS]
        if unknown and not takes_plain:
            self.give_up(f"unknown content coding {unknown[0]!r}")
        elif len(codings) > MOST_LAYERS:
            self.give_up(f"{len(codings)} content codings, one over the other")
        self._layers: list[Coding] = []
        if unknown and not self.error:
            self._layers = [Unknown(unknown[0])]
        elif not self.error:
            self._layers = [LAYERS[name]() for name in reversed(codings)]

    @property
    def ended(self) -> bool:
        """Tell whether all that was pushed is decoded, and whole."""
        return self.done and self.error is None and all(layer.ended for layer in self._layers)

    def feed(self, data: bytes) -> bytes:
        """Give what `data` adds to the decoded body. Once something failed: nothing more."""
        self.push(data)
        return self.pull()

    def push(self, data: bytes) -> None:
        """Add coded bytes, without decoding them."""
        if data and self.error is None:
            self._inputs.append(data)
            self.waiting += len(data)
            self.done = False

    def pull(self, most: int | None = None) -> bytes:
        """Decode what was pushed: all, or until about `most` bytes of work are done. The rest stays."""
        found: list[bytes] = []
        end = None if most is None else self._spent + most
        try:
            while end is None or self._spent < end:
                piece = next(self._pieces, None)
                if piece is not None:
                    found.append(piece)
                    self._first = None if piece else self._first
                elif self._inputs:
                    data = self._inputs.popleft()
                    self.waiting -= len(data)
                    if self._first is not None:
                        self._first = self._first + data if len(self._first) < PIECE else None
                    self._pieces = self._through(self._layers, data)
                else:
                    self.done = True
                    break
        except _Exhausted:
            self.give_up("the decoded body is larger than the limit")
        except (UnknownCoding, zlib.error, brotli.error, zstandard.ZstdError) as error:
            if self._first is not None and PLAIN.match(self._first):
                return self._take_plain(most)
            known = not isinstance(error, UnknownCoding)
            self.give_up(f"content coding is broken: {error}" if known else str(error))
        return b"".join(found)

    def _take_plain(self, most: int | None) -> bytes:
        """Go on with a body that is as it is, whatever its header says: some gateways leave that in place."""
        data, self._first, self._layers, self._pieces = self._first or b"", None, [], iter(())
        self._inputs.appendleft(data)
        self.waiting += len(data)
        return self.pull(most)

    def give_up(self, reason: str) -> None:
        """Decode no more."""
        self.error = reason
        self.done = True
        self._inputs.clear()
        self._pieces = iter(())
        self.waiting = 0

    def _through(self, layers: Sequence[Coding], data: bytes) -> Iterator[bytes]:
        if not layers:
            yield data
            return
        for piece in layers[0].feed(data):
            self._spent += len(piece) + PIECE_COST
            if self._spent > self._budget:
                fits = len(piece) - (self._spent - self._budget)
                yield from self._through(layers[1:], piece[: max(0, fits)])
                raise _Exhausted
            yield from self._through(layers[1:], piece)


def decode(data: bytes, content_encoding: str | None, *, budget: int = BUDGET) -> tuple[bytes, str | None]:
    """Decode a body as far as it goes; say why it goes no further (None: it is whole, or just cut off)."""
    decoder = Decoder(codings_of(content_encoding), budget=budget)
    return decoder.feed(data), decoder.error


def decode_whole(data: bytes, content_encoding: str | None, *, budget: int) -> tuple[bytes, str | None]:
    """Give the same for decisions, where only one reading will do.

    A body that breaks off is an error, as who ignores its coding reads another; so is one that is plain.
    """
    decoder = Decoder(codings_of(content_encoding), budget=budget, takes_plain=False)
    decoded = decoder.feed(data)
    return decoded, decoder.error or (None if decoder.ended else "it breaks off")
