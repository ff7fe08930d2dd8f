"""Damage of any kind costs at most the bytes that are damaged; what it costs is counted and kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.spool import SpoolReader, SpoolWriter
from store.spool.repair import repair
from store.spool.survey import status, verify
from tests.store.test_spool import calls, drain, numbered, segments


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def in_folder(test: Callable[[Path], None]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        test(folder)
    finally:
        shutil.rmtree(folder)


def letters(spool: Path) -> list[dict[str, Any]]:
    path = spool / "dead" / "test.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4), st.integers(0, 9))
def test_bytes_that_changed_in_the_middle_of_a_segment(at: int, other: bytes, read_before: int) -> None:
    """Whole lines around the damage come through."""

    def check(folder: Path) -> None:
        writer = SpoolWriter(folder)
        writer.append(numbered(*range(10)))
        writer.close()
        (path,) = segments(folder)
        data = bytearray(path.read_bytes())
        place = at % (len(data) - len(other))
        touched = {data[:spot].count(b"\n") for spot in range(place, place + len(other))}
        # A line end that is overwritten joins two lines.
        touched |= {line + 1 for line in touched}
        with SpoolReader(folder, "test") as reader:
            reader.commit(reader.read(max_events=max(1, read_before)))
        data[place : place + len(other)] = other
        path.write_bytes(data)
        found = calls(drain(folder))
        expected = [number for number in range(max(1, read_before), 10) if number not in touched]
        assert [number for number in found if number in expected] == expected

    in_folder(check)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.none() | st.integers(-10, 10_000), st.integers(0, 10))
def test_a_cursor_that_is_lost_or_says_anything(damage: bytes | int | None, read_before: int) -> None:
    """A lost or damaged cursor sends again what was sent; it never skips what was not."""

    def check(folder: Path) -> None:
        writer = SpoolWriter(folder)
        writer.append(numbered(*range(10)))
        with SpoolReader(folder, "test") as reader:
            batch = reader.read(max_events=max(1, read_before))
            reader.commit(batch)
            last = max(batch.offsets.values())
        cursor = folder / "cursors" / "test.json"
        if damage is None:
            cursor.unlink()
        elif isinstance(damage, bytes):
            cursor.write_bytes(damage)
        else:
            # A cursor that points too far is only noticed where it is no line's beginning: it is always
            # written before it is used, so none that is whole was ever ahead.
            offset = min(damage, last) if damage <= segments(folder)[0].stat().st_size else damage
            name = segments(folder)[0].name
            cursor.write_text(json.dumps({"version": 1, "offsets": {name: offset}}))
        found = calls(drain(folder))
        assert found == sorted(set(found)), "in order"
        assert set(range(max(1, read_before), 10)) <= set(found)
        writer.close()

    in_folder(check)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3600, 3600), min_size=1, max_size=5))
def test_a_clock_that_steps_back(steps: list[int]) -> None:
    """Names of later writers may sort before those of earlier ones, and time stamps may fall."""

    def check(folder: Path) -> None:
        expected: dict[str, list[int]] = {}
        now = 1_800_000_000_000
        with pytest.MonkeyPatch.context() as patch:
            for step in steps:
                now += step * 1000
                patch.setattr("store.spool.writer.uuid7", lambda now=now: f"{now:012x}-{len(expected):04d}")
                writer = SpoolWriter(folder, segment_bytes=60)
                for number in range(3):
                    writer.append([{"n": number, "timestamp": now - number * 1000}])
                expected[writer.writer] = [0, 1, 2]
                writer.close()
                partly = drain(folder, max_events=2)
                for record in partly:
                    if "n" in record:
                        assert record["n"] == expected[record["writer"]].pop(0)
        assert not any(expected.values())

    in_folder(check)


def test_repair_sets_damage_aside_and_keeps_every_offset(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1, 2, 3))
    writer.close()
    (path,) = segments(spool)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:first] + b"X" + whole[first + 1 :] + b'{"torn')
    (spool / "cursors").mkdir()
    (spool / "cursors" / "broken.json").write_text("{")
    found = verify(spool)
    assert [each["damage"].split(":")[0] for each in found["damaged"]] == ["not JSON", "torn"]
    assert found["gaps"] == {writer.writer: ["2"]}
    assert list(found["cursors"]) == ["broken"]
    damaged = whole.index(b"\n", first) + 1 - first + len(b'{"torn')
    assert repair(spool) == {"lines": 2, "bytes": damaged, "cursors": ["broken"]}
    assert path.stat().st_size == len(whole) + len(b'{"torn')
    after = verify(spool)
    assert (after["damaged"], after["cursors"]) == ([], {})
    assert after["gaps"] == {writer.writer: ["2"]}, "what is missing stays missing"
    assert calls(drain(spool)) == [1, 3]
    assert letters(spool) == []
    aside = (spool / "damaged" / path.name).read_bytes().splitlines()
    assert [json.loads(line)["line"][:6] for line in aside] == ['X"n":2', '{"torn']
    assert repair(spool) == {"lines": 0, "bytes": 0, "cursors": []}


def test_repair_leaves_alone_what_is_being_written(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1))
    with segments(spool)[0].open("ab") as file:
        file.write(b"junk\n")
    assert repair(spool)["lines"] == 0
    writer.close()
    assert repair(spool)["lines"] == 1


def test_a_sound_spool(spool: Path) -> None:
    for _ in range(2):
        writer = SpoolWriter(spool, segment_bytes=50)
        writer.append(numbered(1))
        writer.append(numbered(2))
        writer.close()
    found = verify(spool)
    assert (found["damaged"], found["gaps"], found["duplicates"], found["cursors"]) == ([], {}, {}, {})
    assert found["writers"] == 2
    seen = Counter(each["consumer"] for each in status(spool)["consumers"])
    assert seen == {}


def test_a_digit_that_changed_in_a_cursor(spool: Path) -> None:
    writer = SpoolWriter(spool)
    writer.append(numbered(1))
    writer.append(numbered(2))
    writer.close()
    with SpoolReader(spool, "test") as reader:
        reader.commit(reader.read(max_events=1))
    cursor = spool / "cursors" / "test.json"
    text = cursor.read_text()
    size = segments(spool)[0].stat().st_size
    first = segments(spool)[0].read_bytes().index(b"\n") + 1
    cursor.write_text(text.replace(str(first), str(size)))
    assert calls(drain(spool)) == [1, 2]
