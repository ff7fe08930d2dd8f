"""Write rows as CSV that a spreadsheet may open."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO


def write_csv(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows that all have the first one's columns; nothing where there are none."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    """Return text that is no formula to a spreadsheet: users and models are what clients write."""
    if isinstance(value, bool | Mapping):  # true and false as in the JSON
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
