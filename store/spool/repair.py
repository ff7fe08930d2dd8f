"""Sets aside what is damaged, so that nobody stumbles over it again: ``damaged/``.

A consumer copes with damage by itself: it puts bad lines to its dead letters, and starts anew where its
cursor can't be read. This is for whoever reads the folder with other tools, and for the peace of `verify`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from store.core.file_locks import is_held
from store.core.private_files import make_folder, open_private
from store.spool import cursor
from store.spool.segment import encode, segments
from store.spool.survey import Line, lines

FOLDER = "damaged"


def repair(spool: Path) -> dict[str, Any]:
    """Copy damaged lines and cursors to ``damaged/``, then blank or remove them. Raises OSError.

    A line keeps its length, in blanks, for cursors point behind it. What is still being written is left.
    """
    found = [
        line
        for path in segments(spool)
        if not is_held(path)
        for line in lines(path)
        if line.damage is not None
    ]
    for line in found:
        _set_aside(spool, line)
        _blank(line)
    broken = []
    for name in cursor.names(spool):
        path = cursor.path_of(spool, name)
        if cursor.damage(path) and not cursor.holder(spool, name):
            make_folder(spool / FOLDER)
            path.rename(spool / FOLDER / f"cursor-{path.name}")
            broken.append(name)
    return {"lines": len(found), "bytes": sum(len(line.data) for line in found), "cursors": broken}


def _set_aside(spool: Path, line: Line) -> None:
    letter = {
        "reason": line.damage,
        "segment": line.segment.name,
        "offset": line.offset,
        "line": line.data.decode("utf-8", "backslashreplace"),
    }
    make_folder(spool / FOLDER)
    with open_private(spool / FOLDER / line.segment.name, "ab") as file:
        file.write(encode(letter))
        file.flush()
        os.fsync(file.fileno())


def _blank(line: Line) -> None:
    descriptor = os.open(line.segment, os.O_WRONLY)
    try:
        os.pwrite(descriptor, b" " * (len(line.data) - 1) + b"\n", line.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
