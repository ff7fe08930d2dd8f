"""Read everything that is in a spool, for those who look back; no cursor moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.spool.segment import parse, segments


def scan(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the records that are whole, oldest writer first. What is removed meanwhile is skipped.

    Lines that are no JSON object are skipped too: the consumers put those aside, with the reason.
    """
    for path in segments(folder):
        try:
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n") and (record := parse(line)) is not None:
                        yield record
        except FileNotFoundError:
            continue
