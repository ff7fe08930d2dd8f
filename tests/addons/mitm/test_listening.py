"""A proxy listens on loopback unless it was said where."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster

from addons.mitm import listening
from addons.mitm.listeners import VARIABLE


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def reached(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2):
        return True
    return False


@contextlib.asynccontextmanager
async def running(master: DumpMaster) -> AsyncIterator[None]:
    task = asyncio.create_task(master.run())
    server = master.addons.get("proxyserver")
    try:
        while not server.is_running:
            await asyncio.sleep(0.01)
            assert not task.done()
        yield
    finally:
        master.shutdown()
        await task


def masters(*modes: str, listen_host: str = "", port: int = 0) -> DumpMaster:
    options = Options(mode=list(modes), listen_host=listen_host, listen_port=port)
    return DumpMaster(options, with_termlog=False, with_dumper=False)


@pytest.mark.parametrize("loaded", ["before it listens", "after"])
async def test_loopback_by_default(loaded: str) -> None:
    """mitmproxy 11 loads scripts before it listens, 12 a moment after."""
    port, other = free_port(), free_port()
    modes = ["regular", f"reverse:http://127.0.0.1:1@0.0.0.0:{other}"]
    master = masters(*modes, port=port)
    if loaded != "after":
        listening.prefer_loopback()
    async with running(master):
        if loaded == "after":
            assert reached("127.0.0.2", port)
            listening.prefer_loopback()
            await asyncio.gather(*listening._tasks)
        assert master.options.listen_host == "127.0.0.1"
        assert reached("127.0.0.1", port)
        assert not reached("127.0.0.2", port)
        assert reached("127.0.0.2", other), "an address in the mode"


@pytest.mark.parametrize(
    ("modes", "listen_host"),
    [(["regular"], "0.0.0.0"), (["regular@127.0.0.2:1"], ""), (["wireguard"], ""), (["transparent"], "")],
)
async def test_what_was_said_stays(modes: list[str], listen_host: str) -> None:
    master = masters(*modes, listen_host=listen_host)
    listening.prefer_loopback()
    assert master.options.listen_host == listen_host


async def test_sockets_that_serve_hands_down_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known by their address: with another one, none would be found."""
    monkeypatch.setenv(VARIABLE, ":8080=7 127.0.0.1:8081=8")
    for mode, listen_host in (("regular@8080", ""), ("regular@8082", "127.0.0.1")):
        master = masters(mode)
        listening.prefer_loopback()
        assert master.options.listen_host == listen_host
