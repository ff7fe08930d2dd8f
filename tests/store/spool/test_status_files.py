"""The status files of proxies."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

from store.spool.status_files import FOLDER, KEEP_SECONDS, StatusFile, read_all


def test_a_living_and_an_ended_proxy(tmp_path: Path) -> None:
    first, second = StatusFile(tmp_path, "a"), StatusFile(tmp_path, "b")
    first.write({"recorded": 1})
    first.write({"recorded": 2})
    second.write({"recorded": 3})
    first.close()
    first.close()
    assert [(one.value["recorded"], one.alive) for one in read_all(tmp_path)] == [(2, False), (3, True)]
    second.close()
    assert [one.alive for one in read_all(tmp_path)] == [False, False]


def test_files_are_private_and_whole(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, "a")
    file.write({})
    folder = tmp_path / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    (folder / "b.json").write_text('{"half": ')
    assert len(read_all(tmp_path)) == 1
    assert read_all(tmp_path / "nowhere") == []


def test_old_ones_go_when_a_proxy_starts(tmp_path: Path) -> None:
    old, living = StatusFile(tmp_path, "old"), StatusFile(tmp_path, "living")
    for file, name in ((old, "old"), (living, "living")):
        file.write({"writer": name})
        long_ago = time.time() - KEEP_SECONDS - 1
        os.utime(tmp_path / FOLDER / f"{name}.json", (long_ago, long_ago))
    old.close()
    StatusFile(tmp_path, "new").close()
    assert [one.value["writer"] for one in read_all(tmp_path)] == ["living"]


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, "a")
    file.write({"recorded": 1})
    shutil.rmtree(tmp_path / FOLDER)
    file.write({"recorded": 2})
    assert [(one.value["recorded"], one.alive) for one in read_all(tmp_path)] == [(2, True)]
    file.close()
    assert [one.alive for one in read_all(tmp_path)] == [False]
