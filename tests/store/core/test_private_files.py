from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.core.private_files import make_folder, open_private
from store.spool.cursor import Cursor


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b", parents=True)
        with open_private(tmp_path / "a" / "b" / "file", "w") as file:
            file.write("é")
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o700, 0o700]
    assert mode_of(tmp_path / "a" / "b" / "file") == 0o600
    assert (tmp_path / "a" / "b" / "file").read_text("utf-8") == "é"


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_a_folder_that_is_gone_is_not_made_by_who_only_adds_to_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "gone" / "cursors")


def test_threads_leave_the_umask_of_the_process_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:

        def use(name: str) -> None:
            cursor = Cursor(tmp_path, name)
            for _ in range(20):
                cursor.move({})
            cursor.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(use, (f"consumer-{number}" for number in range(16))))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert {mode_of(path) for path in (tmp_path / "cursors").iterdir()} == {0o600}
