"""A disk that is really full: a small file system of our own, where one can be mounted."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.spool import SpoolReader, open_spool
from tests.store.test_spool import calls, drain, numbered


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
        subprocess.run(mount, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False, timeout=30)


def test_nothing_is_lost_and_nothing_half_written_stays(small_disk: Path) -> None:
    spool, ballast = small_disk / "spool", small_disk / "ballast"
    writer, journal = open_spool(spool)
    journal.opened({"event_id": "before", "usage": None})
    writer.append([*numbered(1), {"event_id": "before", "n": 2}])
    with SpoolReader(spool, "test") as reader:
        reader.commit(reader.read(max_events=1))
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        with pytest.raises(OSError, match="No space left"):
            writer.append([{"n": 3, "text": "x" * 20_000}, {"n": 4}])
        # A line of the journal may still fit into its last page; a long one is cut short, or does not fit.
        with pytest.raises(OSError, match=r"No space left|cut short"):
            journal.opened({"event_id": "refused", "usage": None, "text": "x" * 9000})
        with pytest.raises(OSError, match="No space left"):
            reader.commit(reader.read())
    ballast.unlink()
    writer.append([{"n": 3, "text": "x" * 20_000}, {"n": 4}])
    journal.opened({"event_id": "after", "usage": None})
    writer.append([{"event_id": "after", "n": 5}])
    writer.close()
    assert calls(drain(spool)) == [2, 3, 4, 5]
    assert not (spool / "dead").exists()
