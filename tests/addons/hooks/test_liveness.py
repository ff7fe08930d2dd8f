"""What systemd is told of the proxy."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from addons.hooks.liveness import Liveness


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)
        yield listening


def serving(**changed: Any) -> Any:
    return SimpleNamespace(**{"refused": False, "services": object(), **changed})


def told(listening: socket.socket) -> list[str]:
    """Give what was said so far."""
    found = []
    listening.setblocking(False)
    try:
        while True:
            found.append(listening.recv(4096).decode())
    except BlockingIOError:
        return found
    finally:
        listening.settimeout(20)


async def test_the_beginning_and_the_end_are_told(systemd: socket.socket) -> None:
    liveness = Liveness(serving())
    liveness.running()
    assert [line.partition("\n")[0] for line in told(systemd)] == ["READY=1"]
    liveness.done()
    assert [line.partition("\n")[0] for line in told(systemd)] == ["STOPPING=1"]


@pytest.mark.parametrize("how", [{"refused": True}, {"services": None}])
async def test_a_start_that_was_refused_is_never_ready(systemd: socket.socket, how: dict[str, Any]) -> None:
    liveness = Liveness(serving(**how))
    liveness.running()
    assert told(systemd) == []


async def test_signs_of_life_come_from_the_loop_until_the_end(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    liveness = Liveness(serving())
    liveness.running()
    said: list[str] = []
    async with asyncio.timeout(20):
        while said.count("WATCHDOG=1") < 3:
            await asyncio.sleep(0.005)
            said += told(systemd)
    liveness.done()
    assert liveness._task is None
    assert told(systemd)[-1].startswith("STOPPING=1")
    await asyncio.sleep(0.1)
    assert told(systemd) == []
