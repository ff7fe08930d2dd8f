"""A process that ends is started again: at once, and later each time if it does not last."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from scripts.serving import child as children
from scripts.serving.child import Child


def ended() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", "raise SystemExit(3)"])
    process.wait()
    return process


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_pauses_grow_while_it_does_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said, launched = Clock(), list[str](), list[float]()
    monkeypatch.setattr(children, "time", clock)
    dead = ended()

    def launch() -> subprocess.Popen[bytes]:
        launched.append(clock.now)
        return dead

    child = Child("proxy 1", launch, dead, began=clock.now - 60)
    for _ in range(80):
        child.revive(said.append)
        clock.now += 0.5
    gaps = [later - earlier for earlier, later in itertools.pairwise(launched)]
    assert launched[0] == 1000.0, "one that has lasted is started again at once"
    assert gaps == [1.5, 2.5, 4.5, 8.5, 16.5]
    assert said[0] == f"the proxy 1 (pid {dead.pid}) ended with 3; it is started again."
    assert said[1].endswith("it is started again in 1 s.")


def test_one_that_runs_is_left_alone() -> None:
    running = subprocess.Popen([sys.executable, "-S", "-E", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        Child("proxy 1", ended, running).revive(pytest.fail)
        assert running.poll() is None
    finally:
        running.kill()
        running.communicate()
