"""The start of the runtime: what stops it, and what it makes."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons

from addons import runtime as runtimes
from addons.runtime import Runtime
from addons.settings import options as our_options
from store.tokens.store import TokenStore


class _Runtime(Runtime):
    """The runtime, which leaves mitmproxy's internals of this process as they are."""

    def load(self, loader: Loader) -> None:
        our_options.declare(loader)


@pytest.fixture(autouse=True)
def _stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused start would end this process plainly at its exit."""
    monkeypatch.setattr(runtimes.mitm, "end_plainly_after_a_refused_start", lambda: None)


def start(folder: Path, **options: object) -> Runtime:
    runtime = _Runtime()
    with taddons.context(Proxyserver(), runtime) as context:
        context.configure(
            runtime, llm_store=str(folder / "store.db"), llm_spool=str(folder / "spool"), **options
        )
        runtime.close()
    return runtime


async def test_a_store_that_is_not_there_stops_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name was mistyped, or its disk is away: an empty one would refuse everybody, and hide that."""
    with caplog.at_level(logging.ERROR):
        assert start(tmp_path).refused
    assert f"option llm_store: there is no token store at {tmp_path / 'store.db'}" in caplog.text
    assert "llm_store_create=true" in caplog.text
    assert not (tmp_path / "store.db").exists()


async def test_it_is_made_where_that_is_asked_for(tmp_path: Path) -> None:
    assert not start(tmp_path, llm_store_create=True).refused
    assert (tmp_path / "store.db").exists()


async def test_one_that_is_there_needs_no_option(tmp_path: Path) -> None:
    TokenStore.open(tmp_path / "store.db").close()
    assert not start(tmp_path).refused


async def test_prices_are_read_before_the_first_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of their own: the call that needed them first would wait some 200 ms for them."""
    read = threading.Event()
    threads: list[str] = []

    def cost_of(*_: object) -> None:
        threads.append(threading.current_thread().name)
        read.set()

    monkeypatch.setattr(runtimes, "cost_of", cost_of)
    assert not start(tmp_path, llm_store_create=True, llm_workers="thread").refused
    assert await asyncio.to_thread(read.wait, 10)
    assert threads == ["llmproxy-warm-up"]
