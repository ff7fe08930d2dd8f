"""Keep how far each consumer has come."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from store.core.errors import SpoolBusy, SpoolError
from store.core.private_files import make_folder, open_private

logger = logging.getLogger(__name__)

FOLDER = "cursors"


class Cursor:
    """Holds the offsets of one consumer, for one process at a time. Raises SpoolBusy when it is held."""

    def __init__(self, spool: Path, consumer: str) -> None:
        check_name(consumer)
        folder = spool / FOLDER
        self._path = folder / f"{consumer}.json"
        make_folder(folder)
        self._lock = open_private(folder / f"{consumer}.lock", "a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read(32).strip() or "unknown"
            self._lock.close()
            raise SpoolBusy(
                f"consumer {consumer!r} of {spool} is at work in another process (pid {holder}); "
                "stop that one, or use another consumer name."
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self.offsets = load(self._path)
        """Bytes of each segment that are done with, by segment name."""
        # From now on segments are kept until this consumer is past them.
        self.move({})

    def move(self, offsets: Mapping[str, int]) -> None:
        """Take over `offsets` and make them durable; the file is replaced, never changed."""
        self.offsets.update(offsets)
        temporary = self._path.with_suffix(".tmp")
        with open_private(temporary, "w") as file:
            json.dump({"version": 1, "offsets": self.offsets, "sum": _sum(self.offsets)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def forget(self, segment: str) -> None:
        """Drop the offset of a segment that is gone; written with the next move."""
        self.offsets.pop(segment, None)

    def close(self) -> None:
        self._lock.close()


def load(path: Path) -> dict[str, int]:
    """Read the offsets in a cursor file.

    None, with a warning, where it is unreadable: rather twice than never.
    """
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("cursor %s cannot be read (%s); all that is in the spool is sent again", path, error)
        return {}


def check_name(consumer: str) -> None:
    """Raise SpoolError for what can't be the name of a consumer."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", consumer):
        raise SpoolError(f"consumer {consumer!r}: use 1 to 64 letters, digits, dots, dashes, underscores.")


def path_of(spool: Path, consumer: str) -> Path:
    return spool / FOLDER / f"{consumer}.json"


def names(spool: Path) -> list[str]:
    """Give every registered consumer."""
    return sorted(path.stem for path in (spool / FOLDER).glob("*.json"))


def holder(spool: Path, consumer: str) -> int | None:
    """Give the process that is at work as this consumer; None: nobody, or it can't be told who (0)."""
    try:
        with (spool / FOLDER / f"{consumer}.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).strip()
                return int(text) if text.isdigit() else 0
    except FileNotFoundError:
        pass
    return None


def damage(path: Path) -> str | None:
    """Say why a cursor file can't be read; None where it can, or is not there."""
    try:
        _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _parse(data: bytes) -> dict[str, int]:
    value = json.loads(data)
    offsets = {str(name): max(0, int(offset)) for name, offset in value["offsets"].items()}
    if value.get("sum", _sum(offsets)) != _sum(offsets):
        raise ValueError("its sum is wrong")
    return offsets


def _sum(offsets: Mapping[str, int]) -> int:
    """Give a changed digit would otherwise skip events in silence."""
    return zlib.crc32(json.dumps(offsets, sort_keys=True).encode())


def all_offsets(spool: Path) -> list[dict[str, int]]:
    """Give the offsets of every registered consumer."""
    return [load(path) for path in sorted((spool / FOLDER).glob("*.json"))]
