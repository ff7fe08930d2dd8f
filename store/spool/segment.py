"""A segment: its name, its lock, and one record as a line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SUFFIX = ".jsonl"
UNFINISHED = ".new"
"""Suffix of a file that is not a segment yet, because its writer has not locked it."""


def segment_name(writer: str, counter: int, suffix: str = SUFFIX) -> str:
    """Names sort by the start of their writer (a UUIDv7), then by age."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40] or "host"
    return f"{writer}.{host}.{os.getpid()}.{counter:06d}{suffix}"


def next_name(path: Path) -> Path:
    """The segment of the same writer that comes after `path`."""
    stem, counter = path.name.removesuffix(SUFFIX).rsplit(".", 1)
    return path.with_name(f"{stem}.{int(counter) + 1:06d}{SUFFIX}")


def segments(folder: Path) -> list[Path]:
    """All segments of a spool, oldest writer first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def writer_of(path: Path) -> str:
    """The writer that a segment's name begins with."""
    return path.name.partition(".")[0]


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Files 0600, folders 0700: events may hold prompts."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def encode(record: Mapping[str, Any]) -> bytes:
    """One line of JSON, valid whatever the record holds.

    Not-a-number, which JSON does not know, becomes null; half a surrogate pair, which UTF-8 does not know,
    is written as an escape; what has no JSON form is written as its text.
    """
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        finite = _without_nan(record)
        text = json.dumps(finite, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode() + b"\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole and on disk, or not at all."""
    unfinished = path.with_name(path.name + UNFINISHED)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (fsync(2): syncing a file does not sync its entry)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
