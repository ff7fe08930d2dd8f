"""The end of a spool, found without reading the rest."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from store.spool.tail import BLOCK, Tail, lines_backwards


def segment(spool: Path, name: str, numbers: range, *, body: str = "", age: float = 0) -> Path:
    """A segment whose event number N began N seconds after some moment."""
    spool.mkdir(exist_ok=True)
    path = spool / f"{name}.host.1.000001.jsonl"
    start = time.time() - 10_000
    with path.open("w") as file:
        for number in numbers:
            moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(start + number))
            file.write(json.dumps({"number": number, "timestamp": moment, "body": body}) + "\n")
    changed = start + numbers[-1] if age else time.time()
    os.utime(path, (changed, changed))
    return path


def last(spool: Path, count: int, **wanted: Any) -> list[int]:
    found = Tail(spool).last(count, lambda record: wanted.items() <= record.items())
    return [record["number"] for record in found]


@pytest.mark.parametrize("block", [1, 7, 64, BLOCK])
def test_lines_backwards(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.spool.tail.BLOCK", block)
    some = random.Random(block)
    lines = [b"x" * some.randrange(40) for _ in range(50)]
    path = tmp_path / "file"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert list(lines_backwards(path, path.stat().st_size - 1)) == lines[::-1]


def test_the_last_events_of_all_writers(tmp_path: Path) -> None:
    segment(tmp_path, "a", range(0, 10, 2))
    segment(tmp_path, "b", range(1, 10, 2))
    assert last(tmp_path, 3) == [7, 8, 9]
    assert last(tmp_path, 100) == [*range(10)]
    assert last(tmp_path, 2, number=4) == [4]
    assert last(tmp_path, 0) == []


def test_only_the_end_is_read(tmp_path: Path) -> None:
    segment(tmp_path, "old", range(100), age=1)
    segment(tmp_path, "new", range(2000, 6000), body="x" * 2000)  # 8 MB
    tracemalloc.start()
    try:
        assert last(tmp_path, 1) == [5999]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * BLOCK


def test_what_is_too_old_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = segment(tmp_path, "old", range(100), age=1)
    segment(tmp_path, "new", range(2000, 2010))
    opened: list[Path] = []
    real = lines_backwards
    monkeypatch.setattr(
        "store.spool.tail.lines_backwards", lambda path, end: opened.append(path) or real(path, end)
    )
    assert last(tmp_path, 5) == [*range(2005, 2010)]
    assert old not in opened


def test_a_line_that_is_being_written_comes_with_the_next_look(tmp_path: Path) -> None:
    path = segment(tmp_path, "a", range(3))
    with path.open("a") as file:
        file.write('{"number": 3, "timesta')
        file.flush()
        tail = Tail(tmp_path)
        assert [record["number"] for record in tail.last(2, lambda _: True)] == [1, 2]
        assert [*tail.look()] == []
        file.write('mp": "2026-01-01T00:00:00.000Z"}\n')
        file.flush()
        assert [record["number"] for record in tail.look()] == [3]
