"""The CSV files of ``llmproxy token import``: a row for each token to make."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

import click

from scripts.limit_options import CSV_LIMITS, limits_of_row
from scripts.metadata_options import Pairs
from scripts.options import Expiry
from store import validation
from store.errors import Invalid
from store.models import Token, TokenOrder
from store.secret import Secret

COLUMNS = ("project", "expires", "max_requests", "metadata", "header_metadata", *CSV_LIMITS)
METADATA = "metadata."
ADDED = ("id", "token")


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What such a file holds."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    orders: Sequence[TokenOrder]

    def with_tokens(self, made: Sequence[tuple[Token, Secret]]) -> str:
        """The file as CSV, with an id and a token in each row."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.columns, *ADDED], lineterminator="\n")
        writer.writeheader()
        for row, (token, secret) in zip(self.rows, made, strict=True):
            writer.writerow({**row, "id": token.id, "token": secret.reveal()})
        return text.getvalue()


def read(file: TextIO, project: str | None) -> TokenTable:
    """`project` is that of rows that name none. Raises UsageError that names the row and the remedy."""
    name = getattr(file, "name", "<stdin>")
    try:
        reader = csv.DictReader(file, strict=True)
        columns = list(reader.fieldnames or ())
        _check(columns)
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
    return TokenTable(columns, rows, orders)


def _check(columns: Sequence[str]) -> None:
    for column in columns:
        # A mistyped 'expires' must not make tokens that never end.
        if column not in COLUMNS and not column.startswith(METADATA):
            raise click.UsageError(f"column {column!r}: use {', '.join(COLUMNS)} or {METADATA}KEY.")
        if columns.count(column) > 1:
            raise click.UsageError(f"column {column!r} is there twice.")


def _order(row: Mapping[str, str], project: str | None, where: str) -> TokenOrder:
    owner = row.get("project", "").strip() or project
    if not owner:
        raise click.UsageError(f"{where} names no project; fill that column, or give --project.")
    pairs = {
        name.removeprefix(METADATA): text for name, text in row.items() if name.startswith(METADATA) and text
    }
    try:
        expires = Expiry().convert(row.get("expires", "").strip() or "never", None, None)
        limit = _limit(row.get("max_requests", "").strip())
        whole = Pairs().convert(row.get("metadata", "").strip() or "{}", None, None)
        order = TokenOrder(
            owner,
            expires if isinstance(expires, datetime) else None,
            validation.max_requests(limit),
            {**whole, **pairs},
            limits=limits_of_row(row),
            header_metadata=row.get("header_metadata", "").split(),
        )
        validation.metadata(order.metadata)
        validation.header_metadata(order.header_metadata)
        return order
    except (Invalid, click.UsageError) as error:
        raise click.UsageError(f"{where}: {error}") from error


def _limit(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"max_requests {text[:40]!r}: use a number, or nothing for any.")
    return int(text)
