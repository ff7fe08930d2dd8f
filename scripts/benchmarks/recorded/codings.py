"""Encode content codings (RFC 9110 section 8.4): what a server may do to a body."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import zstandard


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


def _raw_deflate(data: bytes) -> bytes:
    """Compress without the zlib wrapper, which servers leave out by mistake."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _br(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=1))


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("", lambda data: data),
    "gzip": ("gzip", _gzip),
    "br": ("br", _br),
    "zstd": ("zstd", lambda data: zstandard.ZstdCompressor().compress(data)),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "gzip, br": ("gzip, br", lambda data: _br(_gzip(data))),
}
"""By name: the Content-Encoding header, and the function that applies it."""
