"""What commands print: JSON for scripts, a table or lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]


def show(row: Row, *, as_json: bool) -> None:
    """One thing: a JSON object, or a line for each of its fields."""
    if as_json:
        click.echo(json.dumps(row, ensure_ascii=False))
        return
    width = max(len(key) for key in row)
    for key, value in row.items():
        click.echo(f"{key:<{width}}  {_text(value)}")


def show_all(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool, nothing: str) -> None:
    """A list: a JSON array of whole objects, or a table of `columns`."""
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo(nothing, err=True)
        return
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As it is: what is in brackets is no markup here.
        table.add_row(*(Text(_text(row[column])) for column in columns))
    # In a pipe nothing is folded, so that every row stays one line.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text}" for key, text in _flat(value)) or "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return str(value)


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs; of what is nested the keys with slashes between, of a list its members with commas."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from ((f"{key}/{name}", text) for name, text in _flat(inner))
        else:
            yield key, ",".join(map(str, inner)) if isinstance(inner, list) else str(inner)
