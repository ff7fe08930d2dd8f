"""Define a segment: its name, its lock, and one record as a line."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from store.core.event import BaseRecord
from store.core.event_fields import to_fields
from store.core.private_files import sync_folder

SUFFIX = ".jsonl"
UNFINISHED = ".new"
"""Suffix of a file that is not a segment yet, because its writer has not locked it."""


def segment_name(writer: str, counter: int, suffix: str = SUFFIX) -> str:
    """Give the names sort by the start of their writer (a UUIDv7), then by age."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40] or "host"
    return f"{writer}.{host}.{os.getpid()}.{counter:06d}{suffix}"


def next_name(path: Path) -> Path:
    """Give the segment of the same writer that comes after `path`."""
    stem, counter = path.name.removesuffix(SUFFIX).rsplit(".", 1)
    return path.with_name(f"{stem}.{int(counter) + 1:06d}{SUFFIX}")


def segments(folder: Path) -> list[Path]:
    """Give all segments of a spool, oldest writer first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def writer_of(path: Path) -> str:
    """Give the writer that a segment's name begins with."""
    return path.name.partition(".")[0]


def encode(record: BaseRecord | Mapping[str, Any]) -> bytes:
    """Write `record` as one line of JSON, which is valid whatever it holds.

    Not-a-number, which JSON does not know, becomes null; half a surrogate pair, which UTF-8 does not know,
    is written as an escape; what has no JSON form is written as its text.
    """
    return encode_object(record) + b"\n"


class Line(NamedTuple):
    """Holds a record as it is written, without its number."""

    event_id: str
    data: bytes
    """One JSON object."""

    @classmethod
    def of(cls, record: BaseRecord | Mapping[str, Any]) -> Line:
        """Write a record that has no number yet."""
        fields = record if isinstance(record, Mapping) else None
        event_id = fields.get("event_id") if fields is not None else getattr(record, "event_id", None)
        return cls(str(event_id), encode_object(record))

    def numbered(self, writer: str, number: int) -> tuple[memoryview, bytes]:
        """Give the line on disk, as `number` of `writer`, in pieces that are to be joined: it may be long."""
        comma = b"," if len(self.data) > 2 else b""
        end = b'%b"writer":"%b","seq":%d}\n' % (comma, writer.encode(), number)
        return memoryview(self.data)[:-1], end


def encode_object(record: BaseRecord | Mapping[str, Any]) -> bytes:
    """Write `record` as :func:`encode` does, without the end of the line."""
    try:
        data = _encode(record)
    except (TypeError, ValueError):  # of half a surrogate pair, of what has no JSON form
        return _encode_slowly(record)
    return _encode_slowly(record) if _has_odd_numbers(record) else data


_encode = msgspec.json.Encoder().encode
_PLAIN_FROM, _PLAIN_TO = 1e-4, 1e16
"""Between these numbers are written alike by all, without an exponent."""

_WITHOUT_NUMBERS = frozenset({str, int, bool, type(None)})
"""Types of most values."""


def _has_odd_numbers(record: BaseRecord | Mapping[str, Any]) -> bool:
    """Tell whether msgspec writes a number in `record` in another way than Python does: 1e16, 0.00001.

    Its values are looked at, and not the line: a prompt is far more bytes than values, and code that it
    quotes has such numbers.
    """
    left: list[Any] = [record]
    while left:
        item = left.pop()
        kind = type(item)
        if kind in _WITHOUT_NUMBERS:
            continue
        if kind is dict:
            left += item.values()
        elif isinstance(item, (list, tuple)):
            left += item
        elif isinstance(item, float):
            if item and not _PLAIN_FROM <= abs(item) < _PLAIN_TO:
                return True
        elif isinstance(item, msgspec.Struct):
            left += [getattr(item, name) for name in _with_numbers(type(item))]
        elif isinstance(item, Mapping):
            left += item.values()
    return False


@lru_cache
def _with_numbers(kind: type[msgspec.Struct]) -> list[str]:
    """Name the fields whose values may be, or hold, a number with a fraction."""
    return [field.name for field in msgspec.structs.fields(kind) if not _is_without(field.type)]


def _is_without(type_: Any) -> bool:
    """Tell whether values of this type are, and hold, texts, whole numbers and the like alone."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return not _with_numbers(type_)
    if get_origin(type_) is Literal or (isinstance(type_, type) and issubclass(type_, Enum)):
        return True
    inner = get_args(type_)
    return all(map(_is_without, inner)) if inner else type_ in _WITHOUT_NUMBERS or type_ is msgspec.UnsetType


def _encode_slowly(record: BaseRecord | Mapping[str, Any]) -> bytes:
    plain = to_fields(record) if isinstance(record, BaseRecord) else record
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        finite = _without_nan(plain)
        text = json.dumps(finite, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def parse(line: bytes | str) -> dict[str, Any] | None:
    """Read a line of JSON, whichever version wrote it; None where it is no object."""
    try:
        value = decode(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def decode(line: bytes | str) -> Any:
    """Read any JSON. Raises ValueError, and RecursionError for what no stack can read."""
    try:
        return _decode(line)
    except RecursionError:
        # How deep a value may be nested depends on the stack of who reads it: a thread of its own has the
        # shallowest, so that what was written can be read.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(_decode, line).result()


def _decode(line: bytes | str) -> Any:
    try:
        return msgspec.json.decode(line)
    except ValueError:
        return json.loads(line)  # which takes halves of surrogate pairs, too


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole and on disk, or not at all."""
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


def check_place(descriptor: int, path: Path) -> None:
    """Raise OSError where `path` no longer leads to the open file `descriptor`."""
    open_file = os.fstat(descriptor)
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is None or (found.st_dev, found.st_ino) != (open_file.st_dev, open_file.st_ino):
        raise OSError(errno.ESTALE, "the file was removed or its folder moved while it was in use", str(path))
