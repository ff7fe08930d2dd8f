"""Lock files, between processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from store.core.file_locks import claim, is_held, taken

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


def test_a_claim_makes_the_file_and_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = claim(path)
    assert descriptor is not None
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert is_held(path)
        before = psutil.Process().num_fds()
        assert claim(path) is None
        assert psutil.Process().num_fds() == before, "what could not be claimed is closed again"
    finally:
        os.close(descriptor)
    assert not is_held(path)
    again = claim(path)
    assert again is not None
    os.close(again)


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_held(path)
        assert claim(path) is None
        with taken(path) as was_free:
            assert not was_free
        holder.kill()
        holder.wait()
    assert not is_held(path)
    with taken(path) as was_free:
        assert was_free
        assert is_held(path)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with taken(tmp_path / "none") as was_free:
        assert not was_free
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "no" / "folder")
