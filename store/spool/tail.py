"""Records as they come, without a cursor: nothing is kept, nothing is marked as read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.spool.segment import segments


class Tail:
    """Looks at a spool again and again; each look gives what is new."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._offsets: dict[str, int] = {}

    def look(self) -> Iterator[dict[str, Any]]:
        """Whole lines that have come since the last look."""
        paths = segments(self._spool)
        for gone in self._offsets.keys() - {path.name for path in paths}:
            del self._offsets[gone]
        for path in paths:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(self._offsets.get(path.name, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offsets[path.name] = self._offsets.get(path.name, 0) + len(line)
                    with contextlib.suppress(ValueError):
                        value = json.loads(line)
                        if isinstance(value, dict):
                            yield value
