"""Bodies that stand for a gigabyte: the client gets its bytes, and the proxy's memory stays what it was."""

from __future__ import annotations

import gzip
import threading
import zlib
from functools import cache

import brotli
import pytest
import zstandard

from tests.live.clients import CHAT_URL, HELLO, authorised, http
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy
from tests.live.upstream import Answer, Upstream

GIGABYTE = 2**30
BLOCK = b" " * 2**20
MOST = 128 * 2**20
"""Bytes by which the process may grow."""


@cache
def bomb(coding: str) -> bytes:
    """A gigabyte of spaces, a good beginning for JSON."""
    if coding == "gzip, gzip":
        return gzip.compress(bomb("gzip"))
    if coding == "gzip":
        gz = zlib.compressobj(wbits=31)
        return b"".join(gz.compress(BLOCK) for _ in range(GIGABYTE // len(BLOCK))) + gz.flush()
    if coding == "zstd":
        zstd = zstandard.ZstdCompressor().compressobj()
        return b"".join(zstd.compress(BLOCK) for _ in range(GIGABYTE // len(BLOCK))) + zstd.flush()
    br = brotli.Compressor(quality=1)
    return b"".join(br.process(BLOCK) for _ in range(GIGABYTE // len(BLOCK))) + br.finish()


REASONS = ("the decoded body is larger than the limit", "the body expands faster than it can be decoded")


class Peak:
    """The most memory that a proxy holds while the test looks."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._over = threading.Event()
        self.before = self.most = proxy.rss()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._proxy.rss())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [65536, 4 * 2**20], ids=["while-it-passes", "afterwards"])
def test_a_bomb_costs_no_memory(
    limit: int, start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    """One process for all codings; beyond the limit bodies are decoded on the loop, else in the worker."""
    codings = ("gzip", "zstd", "br", "gzip, gzip")
    sent: list[bytes] = []

    def answer(_: object) -> Answer:
        step = 2**18
        pieces = [sent[-1][at : at + step] for at in range(0, len(sent[-1]), step)]
        headers = [("content-type", "application/json"), ("content-encoding", codings[len(sent) - 1])]
        return Answer(pieces, headers=headers)

    upstream.handler = answer
    proxy = start_proxy(f"llm_capture_limit={limit}")
    _, token = tenant.token()
    with http(proxy) as client:
        for number, coding in enumerate(codings, 1):
            sent.append(bomb(coding))
            with (
                Peak(proxy) as peak,
                client.stream(
                    "POST", CHAT_URL, headers=authorised(token), json={"messages": HELLO}
                ) as stream,
            ):
                assert b"".join(stream.iter_raw()) == bomb(coding)
                call = proxy.wait_calls(number, 60)[-1]
            assert (call["outcome"], call["usage_missing_code"]) == ("ok", "undecodable")
            assert (call["usage"], call["cost"]) == (None, None)
            assert any(reason in " ".join(call["truncated"]) for reason in REASONS), call["truncated"]
            assert peak.most - peak.before < MOST, f"{coding}: {(peak.most - peak.before) / 2**20:.0f} MiB"
