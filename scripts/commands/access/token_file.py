"""Read the CSV files of ``llmproxy token import``: a row for each token to make."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import click

from scripts.commands.access.field_options import KEEP, ways
from store.core.errors import Invalid
from store.core.secret import Secret
from store.tokens.fields import columns
from store.tokens.models import Token, TokenOrder

COLUMNS = ("project", *(column for way in ways(Token) for column in way.columns))
BEGINNINGS = tuple(way.beginning for way in ways(Token) if way.beginning)
"""It is that of columns that end with a key."""
ADDED = ("id", "token")


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Holds what such a file has."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    orders: Sequence[TokenOrder]

    def with_tokens(self, made: Sequence[tuple[Token, Secret]]) -> str:
        """Give the file as CSV, with an id and a token in each row."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.columns, *ADDED], lineterminator="\n")
        writer.writeheader()
        for row, (token, secret) in zip(self.rows, made, strict=True):
            writer.writerow({**row, "id": token.id, "token": secret.reveal()})
        return text.getvalue()


def read(file: TextIO, project: str | None) -> TokenTable:
    """Read rows; `project` is that of rows that name none.

    Raises UsageError that names the row and the remedy.
    """
    name = getattr(file, "name", "<stdin>")
    try:
        reader = csv.DictReader(file, strict=True)
        names = list(reader.fieldnames or ())
        _check(names)
        rows, orders = [], []
        for row in reader:
            where = f"line {reader.line_num} of {name}"
            if None in row or None in row.values():
                raise click.UsageError(f"{where} has not as many fields as the first line.")
            rows.append(row)
            orders.append(_order(row, project, where))
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name} is no CSV file in UTF-8: {error}.") from error
    if not orders:
        raise click.UsageError(f"{name} has no rows below its first line.")
    return TokenTable(names, rows, orders)


def _check(columns: Sequence[str]) -> None:
    for column in columns:
        # A mistyped 'expires' must not make tokens that never end.
        if column not in COLUMNS and not column.startswith(BEGINNINGS):
            keys = "".join(f" or {beginning}KEY" for beginning in BEGINNINGS)
            raise click.UsageError(f"column {column!r}: use {', '.join(COLUMNS)}{keys}.")
        if columns.count(column) > 1:
            raise click.UsageError(f"column {column!r} is there twice.")


def _order(row: Mapping[str, str], project: str | None, where: str) -> TokenOrder:
    owner = row.get("project", "").strip() or project
    if not owner:
        raise click.UsageError(f"{where} names no project; fill that column, or give --project.")
    try:
        said = {way.field.name: way.cell(row) for way in ways(Token)}
        order = TokenOrder(owner, **{name: value for name, value in said.items() if value is not KEEP})
        columns(Token, order.given)
        return order
    except (Invalid, click.UsageError) as error:
        raise click.UsageError(f"{where}: {error}") from error
