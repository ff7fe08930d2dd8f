"""Read rows of the store as projects and tokens."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from uuid_utils import uuid7

from store.core.errors import DamagedRow, StoreError
from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.database.schema import PROJECTS, TOKENS
from store.tokens import limits
from store.tokens.amounts import USD
from store.tokens.fields import columns, fields_of
from store.tokens.lifetimes import Lifetimes
from store.tokens.models import Project, Token, TokenOrder
from store.tokens.token_text import fingerprint, shown

logger = logging.getLogger(__name__)

T = TypeVar("T")
OnDamaged = Callable[[DamagedRow], object]


def project_of(row: Row) -> Project:
    """Read a row of `projects`. Raises DamagedRow."""
    with _naming(Project, row):
        return Project(**_values(Project, row))


def token_of(row: Row) -> Token:
    """Read a row of `tokens`. Raises DamagedRow."""
    with _naming(Token, row):
        return Token(**_values(Token, row))


def readable(read: Callable[[Row], T], rows: Iterable[Row], on_damaged: OnDamaged) -> list[T]:
    """Read `rows`; `on_damaged` gets the errors of those that cannot be read."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except DamagedRow as error:
            on_damaged(error)
    return found


def log_damaged(error: DamagedRow) -> None:
    """Name a row that cannot be read in the log."""
    logger.warning("llmproxy: %s", error)


def limits_of(kind: str, row: Row, on_damaged: OnDamaged = log_damaged) -> limits.Limits:
    """Read the limits alone, for lists over many rows: none where they cannot be read, which is told."""
    try:
        return limits.from_json(row["limits"])
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, StoreError) as error:
        on_damaged(DamagedRow(f"{kind} {row['id']}: limits cannot be read ({error})."))
        return limits.NONE


@contextmanager
def _naming(model: type, row: Row) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, StoreError) as error:
        kind = model.__name__.lower()
        held = [field.column for field in fields_of(model).values() if field.kind.is_json]
        bad = ", ".join(column for column in held if not _is_json(row.get(column))) or "a column"
        raise DamagedRow(
            f"{kind} {row['id']}: {bad} cannot be read ({error}); "
            f"put it right in the table {kind}s, for example with '{{}}' or '[]'."
        ) from error


def _is_json(text: Any) -> bool:
    try:
        json.loads(text)
    except (ValueError, TypeError):
        return False
    return True


@cache
def _reads(model: type) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    return tuple((field.name, field.column, field.kind.read) for field in fields_of(model).values())


def warm_up() -> None:
    """Find out now how rows are read: it takes 10 ms, for which the first call would wait."""
    for model in (Project, Token):
        _reads(model)


def _values(model: type, row: Row) -> dict[str, Any]:
    return {name: read(row[column]) for name, column, read in _reads(model)}


def token_row(
    order: TokenOrder, project_id: str, lifetimes: Lifetimes, text: str, prefix: str
) -> dict[str, Any]:
    """Make the row of a new token. Raises Invalid."""
    now = datetime.now(UTC)
    return {
        **dict.fromkeys(field.column for field in fields_of(Token).values()),
        "id": str(uuid7()),
        "sha256": fingerprint(text),
        "prefix": shown(text, prefix),
        "project_id": project_id,
        "active": 1,
        "created_at": rfc3339(now),
        **{"request_count": 0, "cache_hit_count": 0},
        **columns(Token, lifetimes.given(order.given, now)),
    }


def counts_dollars(connection: Connection) -> bool:
    """Tell whether a project or token has a budget in dollars: its calls are priced before they are made."""
    for table in (PROJECTS, TOKENS):
        named = " OR ".join(f"{column.name} LIKE :usd" for column in table.columns if "limits" in column.name)
        if connection.rows(f"SELECT id FROM {table.name} WHERE {named} LIMIT 1", usd=f'%"{USD}"%'):  # noqa: S608
            return True
    return False
