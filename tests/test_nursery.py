"""Processes of the nursery are like those that start from nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import nursery

CLI = (sys.executable, "-P", "-m", "scripts.cli")
MITMDUMP = str(Path(sys.executable).parent / "mitmdump")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        (*CLI, "--spool", "missing", "status"),
        (*CLI, "spool", "--nonsense"),
        (*CLI, "import", "-", "--json"),
        (MITMDUMP, "--version"),
        (MITMDUMP, "--set", "anticache=nonsense"),
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_same_code_and_words(command: tuple[str, ...], tmp_path: Path) -> None:
    cold = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
    )
    warm = nursery.run(command, cwd=tmp_path)
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_signals_end_a_child_and_nothing_else(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    first, second = (
        nursery.start((*CLI, "--spool", "spool", "spool", "tail"), cwd=tmp_path) for _ in range(2)
    )
    assert first.pid != second.pid
    assert (first.poll(), second.poll()) == (None, None)
    first.send_signal(number)
    assert first.wait(60) == -number
    assert second.poll() is None
    second.kill()
    assert second.wait(60) == -signal.SIGKILL
