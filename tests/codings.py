"""Content codings (RFC 9110 section 8.4), the encoding side: what a server may do to a body."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli
import zstandard


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the zlib wrapper, which servers send by mistake and clients must accept."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def gzipped(data: bytes) -> bytes:
    """Without a time stamp, so that equal bodies are equal when coded."""
    return gzip.compress(data, mtime=0)


def zstd(data: bytes) -> bytes:
    compressed: bytes = zstandard.ZstdCompressor().compress(data)
    return compressed


def br(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=4))


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("", lambda data: data),
    "gzip": ("gzip", gzipped),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", br),
    "zstd": ("zstd", zstd),
    "gzip, br": ("gzip, br", lambda data: br(gzipped(data))),
}
"""By name: the Content-Encoding header and the function that applies it."""


def flushed(name: str, parts: Iterable[bytes]) -> Iterator[bytes]:
    """A single coding, flushed after each part, as servers do that stream; then the coding's end."""
    if name == "br":
        brotli_stream = brotli.Compressor(quality=4)
        for part in parts:
            yield brotli_stream.process(part) + brotli_stream.flush()
        yield brotli_stream.finish()
    elif name == "zstd":
        zstd_stream = zstandard.ZstdCompressor().compressobj()
        for part in parts:
            yield zstd_stream.compress(part) + zstd_stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        yield zstd_stream.flush()
    else:
        deflate = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[name])
        for part in parts:
            yield deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH)
        yield deflate.flush()
