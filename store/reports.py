"""What was used, from the hourly sums, and what is left, from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from store import limits
from store.engine import Connection, Row
from store.ledger.account import budgets_of
from store.ledger.claims import Side
from store.ledger.soft_limits import reached
from store.models import rfc3339
from store.rollups import FIGURES, TABLE

COLUMNS = {
    "project": "project_id",
    "token": "token_id",
    "user": "user_id",
    "model": "model",
    "endpoint": "endpoint",
}
TIMES = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
"""In UTC."""
WAYS = (*COLUMNS, *TIMES)
"""By what usage can be told apart."""
CHUNK = 500
"""Ids in one question."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is asked for."""

    by: Sequence[str] = ("project",)
    """Of WAYS, the first one first."""
    since: datetime | None = None
    """The hours from the one with this moment on."""
    until: datetime | None = None
    """The hours that begin before."""
    project_id: str | None = None
    token_id: str | None = None


def usage(connection: Connection, asked: Usage) -> list[dict[str, Any]]:
    """A row for each group that has calls; in the order of time, else the most expensive first."""
    times = [way for way in asked.by if way in TIMES]
    columns = [COLUMNS[way] for way in asked.by if way in COLUMNS]
    groups: dict[tuple[str | None, ...], dict[str, int]] = {}
    for row in _sums(connection, asked, ["hour", *columns] if times else columns):
        key = tuple(_shown(way, row) for way in asked.by)
        total = groups.setdefault(key, dict.fromkeys(FIGURES, 0))
        for name in FIGURES:
            total[name] += int(row[name] or 0)
    names = _names(connection, asked.by, groups)
    rows = [
        {**dict(zip(asked.by, key, strict=True)), **names.get(key, {}), **figures(total)}
        for key, total in groups.items()
    ]
    rows.sort(key=lambda row: (*(row[way] for way in times), -row["nano_usd"], -row["calls"]))
    return rows


def figures(total: dict[str, int]) -> dict[str, Any]:
    """Sums as they are shown."""
    return {
        **{name: total[name] for name in ("calls", "refused", "failed")},
        **{name: total[name] for name in FIGURES if name.endswith("_tokens")},
        "seconds": total["milliseconds"] / 1000,
        "usd": usd_text(total["nano_usd"]),
        "nano_usd": total["nano_usd"],
        **{name: total[name] for name in ("unpriced", "unreported")},
    }


def usd_text(nano: int) -> str:
    """Dollars as an exact decimal."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def budgets(connection: Connection, now: float, *, project_id: str | None = None) -> list[dict[str, Any]]:
    """What is left of each budget of projects, and of tokens that are not revoked; the fullest first."""
    rows = []
    for side, row in _limited(connection, project_id):
        marks = reached(connection, [row["id"]])
        for gauge in budgets_of(connection, side, row["id"], limits.from_json(row["limits"]), now):
            unit, _, period = gauge.limit.partition("/")
            rows.append(
                {
                    "side": side,
                    "project": row["project_id"],
                    "project_name": row["project_name"],
                    "token": row["id"] if side == "token" else None,
                    "token_prefix": row["prefix"],
                    "limit": gauge.limit,
                    "allowed": _amount(unit, gauge.allowed),
                    "used": _amount(unit, gauge.used),
                    "held": _amount(unit, gauge.held),
                    "left": _amount(unit, gauge.left),
                    "percent": round(gauge.used * 100 / gauge.allowed, 1) if gauge.allowed else 100.0,
                    "reached": marks.get((row["id"], gauge.limit, limits.period_start(period, now))),
                    "resets_at": None
                    if gauge.resets_at is None
                    else rfc3339(datetime.fromtimestamp(gauge.resets_at, UTC)),
                }
            )
    return sorted(rows, key=lambda row: -row["percent"])


def _limited(connection: Connection, project_id: str | None) -> Iterator[tuple[Side, Row]]:
    """Projects and tokens that have limits."""
    projects = connection.rows(
        "SELECT id, id AS project_id, name AS project_name, NULL AS prefix, limits FROM projects "
        "WHERE limits <> :none ORDER BY name",
        none="{}",
    )
    tokens = connection.rows(
        "SELECT tokens.id, project_id, projects.name AS project_name, prefix, tokens.limits FROM tokens "
        "JOIN projects ON projects.id = project_id WHERE tokens.limits <> :none AND tokens.active = 1 "
        "ORDER BY tokens.id",
        none="{}",
    )
    sides: tuple[tuple[Side, list[Row]], ...] = (("project", projects), ("token", tokens))
    for side, rows in sides:
        yield from ((side, row) for row in rows if project_id in (None, row["project_id"]))


def _amount(unit: str, amount: int) -> str | int:
    """Dollars as a decimal, tokens as they are."""
    return limits.number_text(unit, amount) if unit == limits.USD else amount


def _sums(connection: Connection, asked: Usage, columns: Sequence[str]) -> list[Row]:
    conditions, values = ["calls > 0"], dict[str, Any]()
    for text, value in (
        ("hour >= :since", None if asked.since is None else int(asked.since.timestamp()) // 3600),
        ("hour < :until", None if asked.until is None else -(-int(asked.until.timestamp()) // 3600)),
        ("project_id = :project_id", asked.project_id),
        ("token_id = :token_id", asked.token_id),
    ):
        if value is not None:
            conditions.append(text)
            values[text.rpartition(":")[2]] = value
    figures = ", ".join(f"SUM({name}) AS {name}" for name in FIGURES)
    chosen = ", ".join(columns)
    sql = (
        f"SELECT {chosen}{', ' if columns else ''}{figures} FROM {TABLE} "  # noqa: S608 - of our own names
        f"WHERE {' AND '.join(conditions)}{' GROUP BY ' if columns else ''}{chosen}"
    )
    return connection.rows(sql, **values)


def _shown(way: str, row: Row) -> str | None:
    if way in TIMES:
        return datetime.fromtimestamp(row["hour"] * 3600, UTC).strftime(TIMES[way])
    return str(row[COLUMNS[way]]) or None


ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "project": ("SELECT id, name FROM projects WHERE id IN :ids", {"name": "project_name"}),
    "token": (
        "SELECT id, prefix, metadata FROM tokens WHERE id IN :ids",
        {"prefix": "token_prefix", "metadata": "token_metadata"},
    ),
}
"""What people know projects and tokens by: where it stands, and what it is called in a report."""


def _names(
    connection: Connection, by: Sequence[str], keys: Iterable[tuple[str | None, ...]]
) -> dict[tuple[str | None, ...], dict[str, Any]]:
    """What people call the projects and tokens among the keys."""
    found: dict[tuple[str | None, ...], dict[str, Any]] = {key: {} for key in keys}
    for way in by:
        if way not in ASKED:
            continue
        sql, columns = ASKED[way]
        place = by.index(way)
        ids = sorted({key[place] or "" for key in found})
        rows: dict[str | None, Row] = {}
        for start in range(0, len(ids), CHUNK):
            rows.update((row["id"], row) for row in connection.rows(sql, ids=ids[start : start + CHUNK]))
        for key, shown in found.items():
            row = rows.get(key[place], {})
            shown.update((name, _label(column, row.get(column))) for column, name in columns.items())
    return found


def _label(column: str, value: Any) -> Any:
    return json.loads(value) if column == "metadata" and value else value
