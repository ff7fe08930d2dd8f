"""Children of scripts/up: logs, and that nothing outlives their parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts.client.processes import Processes
from tests.live.harness import wait_for

SLEEP = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_output_goes_to_a_private_log_without_colours(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "logs", os.environ)
    try:
        child = processes.start("talker", [sys.executable, "-c", r"print('\x1b[31mred\x1b[0m\n\nlast')"])
        wait_for(lambda: child.ended, "the end of the child")
        assert child.last_lines(2) == ["red", "last"]
        assert child.log.stat().st_mode & 0o777 == 0o600
        assert processes.ended() is child
    finally:
        processes.close()


def test_close_ends_all(tmp_path: Path) -> None:
    processes = Processes(tmp_path, os.environ)
    children = [processes.start(name, SLEEP) for name in ("one", "two")]
    assert processes.ended() is None
    processes.close()
    assert all(gone(child.popen.pid) for child in children)


def test_stop_waits_for_a_child_that_cleans_up_and_kills_one_that_does_not(tmp_path: Path) -> None:
    tidy = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('clean', flush=True), sys.exit()))\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    stubborn = tidy.replace("sys.exit()", "None").replace(
        "time.sleep(600)", "[time.sleep(1) for _ in range(600)]"
    )
    processes = Processes(tmp_path, os.environ)
    try:
        for name, program, patience in (("tidy", tidy, 20.0), ("stubborn", stubborn, 0.2)):
            child = processes.start(name, [sys.executable, "-c", program])
            wait_for(lambda child=child: "ready" in child.output(), f"{name} to start")  # type: ignore[misc]
            processes.stop(child, patience)
            assert gone(child.popen.pid)
            assert "clean" in child.output()
    finally:
        processes.close()


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path, number: str) -> None:
    program = (
        "import os, pathlib, sys, time\n"
        "from scripts.client.processes import Processes\n"
        f"processes = Processes(pathlib.Path({str(tmp_path)!r}), os.environ)\n"
        f"children = [processes.start(name, {SLEEP!r}) for name in ('one', 'two')]\n"
        "print(*(child.popen.pid for child in children), flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        children = [int(pid) for pid in parent.stdout.readline().split()]
        guard = next(c.pid for c in psutil.Process(parent.pid).children() if c.pid not in children)
        assert len(children) == 2
        assert not any(gone(pid) for pid in children)
        parent.kill() if number == "SIGKILL" else parent.terminate()
        parent.wait(10)
        wait_for(lambda: all(gone(pid) for pid in [*children, guard]), "the end of the children")
