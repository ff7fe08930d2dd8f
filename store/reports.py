"""What was used, from the hourly sums: by project, token, user, model, endpoint and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from store.engine import Connection, Row
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


def _names(
    connection: Connection, by: Sequence[str], keys: Iterable[tuple[str | None, ...]]
) -> dict[tuple[str | None, ...], dict[str, str | None]]:
    """What people call the projects and tokens among the keys."""
    found: dict[tuple[str | None, ...], dict[str, str | None]] = {key: {} for key in keys}
    for way, table, column in (("project", "projects", "name"), ("token", "tokens", "prefix")):
        if way not in by:
            continue
        place = by.index(way)
        ids = sorted({key[place] or "" for key in found})
        names: dict[str | None, str] = {}
        for start in range(0, len(ids), CHUNK):
            sql = f"SELECT id, {column} AS name FROM {table} WHERE id IN :ids"  # noqa: S608 - of our own names
            rows = connection.rows(sql, ids=ids[start : start + CHUNK])
            names.update((row["id"], row["name"]) for row in rows)
        for key, shown in found.items():
            shown[f"{way}_{column}"] = names.get(key[place])
    return found
