"""Write tables for people: every row is one line, numbers stand on the right, and no id or number is cut.

Where a terminal is too narrow, long texts are shortened and columns are left out, the least important first.
Rows are laid out in portions, so a long list begins at once and takes no memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rich.cells import cell_len, set_cell_size

from scripts.cells import DOLLARS, TEXTS, TIMES, as_text, short_decimal

PORTION = 500
GAP = "  "
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}", re.ASCII)
FRACTION = re.compile(r"\.\d+(?=Z$)", re.ASCII)
NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
READABLE = 16
"""Cells that a text keeps before a column is left out for it."""
SHORTEST = 8
"""Cells that a text keeps when nothing more can be left out."""
EMPTY = ("", "-", "0")
CUT = "…"

Row = Mapping[str, Any]


class Table:
    """Lays rows out under `columns`, in `width` cells (None: any number)."""

    def __init__(self, columns: Sequence[str], *, droppable: Sequence[str] = (), width: int | None) -> None:
        """Take as `droppable` the columns that may be left out, the least important first."""
        self._columns = list(columns)
        self._droppable = list(droppable)
        self._width = width
        self._natural: dict[str, int] = {}
        """Cells that the widest value of each column takes."""
        self._least: dict[str, int] = {}
        """Cells that its name and the ids in it take."""
        self._widths: dict[str, int] = {}
        """Cells that each column is given."""
        self._filled: set[str] = set()
        """Columns with more than nothing and zero; the others are left out first."""
        self.left_out: list[str] = []
        """The columns that did not fit; known after the last line, as is `shortened`."""

    @property
    def shortened(self) -> list[str]:
        """List the columns whose texts are not whole."""
        return [name for name in self._columns if self._widths[name] < self._natural[name]]

    def lines(self, rows: Iterable[Row]) -> Iterator[str]:
        """Write the header, then a line for each row. Nothing where there is no row.

        The header is written again where later rows need so much room that more columns are left out.
        """
        remaining = iter(rows)
        headed: list[str] = []
        while portion := list(islice(remaining, PORTION)):
            cells = [{name: _cell(name, row[name]) for name in self._columns} for row in portion]
            self._measure(cells)
            self._fit()
            numbers = {name for name in self._columns if _are_numbers(each[name] for each in cells)}
            if headed != self._columns:
                headed = list(self._columns)
                yield self._line({name: name for name in self._columns}, numbers)
            for each in cells:
                yield self._line(each, numbers)

    def _says_something(self, name: str) -> bool:
        return name in self._filled

    def _measure(self, cells: Sequence[Mapping[str, str]]) -> None:
        """Widen the columns for these cells; they never become narrower."""
        for name in self._columns:
            if any(each[name] not in EMPTY for each in cells):
                self._filled.add(name)
            widest = max(cell_len(each[name]) for each in cells)
            self._natural[name] = max(self._natural.get(name, cell_len(name)), widest)
            ids = (len(each[name]) for each in cells if ID.fullmatch(each[name]))
            self._least[name] = max(self._least.get(name, cell_len(name)), *ids, 0)

    def _fit(self) -> None:
        """Share the width out: columns are left out for what is needed, texts get what is left."""
        self._widths = dict(self._natural)
        if self._width is None or self._room() >= 0:
            return
        texts = [name for name in self._columns if name in TEXTS]
        for name in texts:
            self._widths[name] = min(self._natural[name], max(READABLE, self._least[name]))
        for name in sorted(self._droppable, key=self._says_something):
            if self._room() < 0 and name in self._columns:
                self._columns.remove(name)
                self.left_out.append(name)
        for name in sorted(set(texts) & {*self._columns}, key=lambda name: -self._widths[name]):
            wanted = self._widths[name] + self._room()
            self._widths[name] = min(self._natural[name], max(wanted, SHORTEST, self._least[name]))

    def _room(self) -> int:
        """Count the cells of a line that no column takes; less than none where it is too narrow."""
        assert self._width is not None
        taken = sum(self._widths[name] + len(GAP) for name in self._columns) - len(GAP)
        return self._width - taken

    def _line(self, row: Mapping[str, str], numbers: Collection[str]) -> str:
        parts = []
        for name in self._columns:
            width = self._widths[name]
            text = row[name] if cell_len(row[name]) <= width else _shortened(row[name], width)
            padding = " " * (width - cell_len(text))
            parts.append(padding + text if name in numbers else text + padding)
        return GAP.join(parts).rstrip()


def _cell(name: str, value: Any) -> str:
    if name in DOLLARS:
        return as_text(short_decimal(value))
    if isinstance(value, str) and (name in TIMES or name.endswith("_at")):
        return FRACTION.sub("", as_text(value))
    return as_text(value)


def _shortened(text: str, width: int) -> str:
    """Cut the end off; a character of two cells is not halved."""
    return set_cell_size(text, width - 1).rstrip() + CUT


def _are_numbers(cells: Iterable[str]) -> bool:
    values = {*cells} - {"-", ""}
    return bool(values) and all(NUMBER.fullmatch(value) for value in values)
