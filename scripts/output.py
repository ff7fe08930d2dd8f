"""Print what commands say: JSON for scripts, a table or lines for people."""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from scripts.cells import as_text
from store.core.printable import printable, printable_json

if TYPE_CHECKING:
    from scripts.table import Table

Row = Mapping[str, Any]


def show(row: Row, *, as_json: bool) -> None:
    """Print one thing: a JSON object, or a line for each of its fields."""
    if as_json:
        click.echo(printable_json(row))
        return
    width = max(len(key) for key in row)
    for key, value in row.items():
        click.echo(f"{printable(key):<{width}}  {as_text(value)}")


def show_all(
    rows: Iterable[Row],
    columns: Sequence[str],
    *,
    as_json: bool,
    nothing: str,
    droppable: Sequence[str] = (),
) -> None:
    """Print a list as it comes: a JSON array of whole objects, or a table of `columns`.

    On a terminal that is too narrow, texts are shortened and columns of `droppable` are left out, the first
    one first, and a last line says so. A pipe gets all of it.
    """
    if as_json:
        _show_array(rows)
        return
    remaining = iter(rows)
    if (first := next(remaining, None)) is None:
        click.echo(nothing, err=True)
        return
    from scripts.table import Table  # noqa: PLC0415 - measures text with a library

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    table = Table(columns, droppable=droppable, width=width)
    _write(f"{line}\n" for line in table.lines(itertools.chain([first], remaining)))
    if table.left_out or table.shortened:
        _tell_what_is_missing(table, width)


def name_damaged(error: Exception) -> None:
    """Say on standard error which row a list leaves out, and why."""
    click.echo(f"Error: left out: {printable(error)}", err=True)


def _tell_what_is_missing(table: Table, width: int | None) -> None:
    parts = (("left out", table.left_out), ("shortened", table.shortened))
    told = "; ".join(f"{what} for want of room: {', '.join(names)}" for what, names in parts if names)
    click.echo(textwrap.fill(f"({told}; --json, or a pipe, has all)", width or 80), err=True)


def _show_array(rows: Iterable[Row]) -> None:
    """Write the array member by member, each on a line: it may be longer than memory."""
    members = iter(map(printable_json, rows))
    if (first := next(members, None)) is None:
        click.echo("[]")
        return
    _write(itertools.chain([f"[\n{first}"], (f",\n{text}" for text in members)))
    click.echo("\n]")


def _write(texts: Iterable[str]) -> None:
    """Write a long output: its beginning at once, the rest in large pieces (click.echo flushes each time)."""
    for number, text in enumerate(texts):
        sys.stdout.write(text)
        if number <= 1:
            sys.stdout.flush()
    sys.stdout.flush()
