"""Report what was used, from the hourly sums, and what is left, from the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from itertools import chain, islice
from typing import Any

from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.ledger import assumed
from store.ledger.account import Gauge, budgets_of
from store.ledger.budget_alerts import reached
from store.tokens import amounts
from store.tokens.calendar import HOUR
from store.tokens.rows import limits_of
from store.tokens.subjects import (
    ADDRESS,
    LABEL,
    USER,
    Side,
    Subject,
    label_in,
    own_name_in,
    owner_in,
    subject_of,
)
from store.usage.periods import FORMS, moment_of, name_of, next_of
from store.usage.rollups import DAYS, FIGURES, KEY_OF_DAYS, LABELS, TABLE, usd_text

COLUMNS = {
    "project": "project_id",
    "token": "token_id",
    "user": "user_id",
    "model": "model",
    "endpoint": "endpoint",
}
TIMES = tuple(FORMS)
WAYS = (*COLUMNS, *TIMES)
"""By what usage can be told apart."""
UNCERTAIN = ("unpriced", "unreported", "lower_bound", "approximate")
"""Figures of calls whose tokens or dollars are not known for sure; where all are 0, the sums are whole."""
CHUNK = 500
"""Ids in one question, and rows in one page."""
SORTED = 10_000
"""Budgets that are sorted by how full they are."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Says what is asked for."""

    by: Sequence[str] = ("project",)
    """It is that of WAYS, the first one first."""
    since: datetime | None = None
    """The hours from the one with this moment on."""
    until: datetime | None = None
    """The hours that begin before."""
    project_id: str | None = None
    token_id: str | None = None
    zone: tzinfo = UTC
    """It is that of days, weeks and months."""
    projects: Sequence[str] | None = None
    """Ids of the only projects whose usage may be told; None for all."""


def usage(connection: Connection, asked: Usage) -> Iterator[dict[str, Any]]:
    """Give a row for each group that has calls; in the order of time, else the most expensive first.

    No more is in memory than the groups of one period of the shortest time that is asked for.
    """
    times = [way for way in asked.by if way in TIMES]
    for period in _periods(connection, asked, times) if times else [asked]:
        yield from _usage_of(connection, period, times)


def _usage_of(connection: Connection, asked: Usage, times: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the rows of one period, sorted; at the end what is assumed of no group that has calls."""
    guessed = _guessed(connection, asked, times)
    groups = _summed(connection, asked) if times else _sorted(connection, asked)
    while portion := dict(islice(groups, CHUNK)):
        names = names_of(connection, asked.by, portion)
        for key, total in portion.items():
            shown = {**dict(zip(asked.by, key, strict=True)), **names[key], **figures(total)}
            yield shown | _assumed(*guessed.pop(key, (0, 0)))
    nothing = figures(dict.fromkeys(FIGURES, 0))
    for key, name in names_of(connection, asked.by, guessed).items():
        yield {**dict(zip(asked.by, key, strict=True)), **name, **nothing} | _assumed(*guessed[key])


Group = tuple[tuple[str | None, ...], dict[str, int]]
"""It is what a row of a report is about, and its sums."""


def _sorted(connection: Connection, asked: Usage) -> Iterator[Group]:
    """Give groups without a time as the database sorts them: there may be more than fit into memory."""
    rows = sums(connection, asked, [COLUMNS[way] for way in asked.by], ordered=True)
    # A few are read at once: however long the reader takes, nothing is held up by it.
    for row in chain(list(islice(rows, SORTED)), rows):
        yield tuple(_shown(way, row, asked.zone) for way in asked.by), {name: row[name] for name in FIGURES}


def _summed(connection: Connection, asked: Usage) -> Iterator[Group]:
    """Give the groups of a period of several hours."""
    columns = [COLUMNS[way] for way in asked.by if way in COLUMNS]
    groups: dict[tuple[str | None, ...], dict[str, int]] = {}
    for row in sums(connection, asked, ["hour", *columns]):
        key = tuple(_shown(way, row, asked.zone) for way in asked.by)
        total = groups.setdefault(key, dict.fromkeys(FIGURES, 0))
        for name in FIGURES:
            total[name] += int(row[name] or 0)
    for key in sorted(groups, key=lambda key: (-groups[key]["nano_usd"], -groups[key]["calls"])):
        yield key, groups[key]


def _guessed(
    connection: Connection, asked: Usage, times: Sequence[str]
) -> dict[tuple[str | None, ...], tuple[int, int]]:
    """Return what was charged beyond what events say, in tokens and nano-USD, by group."""
    columns = [COLUMNS[way] for way in asked.by if way in COLUMNS]
    conditions, values = _conditions(asked, hour="used_hour")
    chosen = ", ".join([*(["used_hour"] if times else []), *columns])
    found: dict[tuple[str | None, ...], tuple[int, int]] = {}
    for row in connection.rows(
        f"SELECT {chosen}, {assumed.SUMS} FROM {assumed.TABLE} "  # noqa: S608 - of our own names
        f"WHERE {' AND '.join(['used_hour > 0', *conditions])} GROUP BY {chosen}",
        **values,
    ):
        key = tuple(_shown(way, {**row, "hour": row.get("used_hour")}, asked.zone) for way in asked.by)
        tokens, nano_usd = found.get(key, (0, 0))
        found[key] = tokens + int(row["tokens"]), nano_usd + int(row["nano_usd"])
    return found


def _assumed(tokens: int, nano_usd: int) -> dict[str, Any]:
    """Say what the budgets were charged with beyond the row's figures."""
    return {
        "assumed_tokens": tokens,
        "assumed_usd": usd_text(nano_usd),
        "assumed_nano_usd": nano_usd,
    }


def _periods(connection: Connection, asked: Usage, times: Sequence[str]) -> Iterator[Usage]:
    """Give what is asked, apart for each period of the shortest time, the earliest first."""
    (row,) = connection.rows(f"SELECT MIN(hour) AS first, MAX(hour) AS last FROM {TABLE}")  # noqa: S608
    if row["first"] is None:
        return
    shortest = next(way for way in TIMES if way in times)
    start = max(hour_of(asked.since) or 0, row["first"])
    end = min(hour_of(asked.until, up=True) or row["last"] + 1, row["last"] + 1)
    while start < end:
        following = min(next_of(shortest, start, asked.zone), end)
        yield replace(asked, since=moment_of(start), until=moment_of(following))
        start = following


def hour_of(moment: datetime | None, *, up: bool = False) -> int | None:
    """Return the number since 1970 of the hour with this moment in it; `up`: of the next one, within it."""
    if moment is None:
        return None
    return -(-int(moment.timestamp()) // 3600) if up else int(moment.timestamp()) // 3600


def models_of_calls(
    connection: Connection, since: datetime, projects: Collection[str] | None = None
) -> list[tuple[str, int, int]]:
    """List the models called since then, each with its calls and how many of those have no price.

    `projects`: only by these, given by their ids.
    """
    values: dict[str, Any] = {} if projects is None else {"projects": list(projects)}
    rows = connection.rows(
        f"SELECT model, SUM(calls) AS calls, SUM(unpriced) AS unpriced FROM {TABLE} "  # noqa: S608
        "WHERE hour >= :since AND model <> :none AND refused < calls "
        f"{'' if projects is None else 'AND project_id IN :projects '}GROUP BY model ORDER BY model",
        since=int(since.timestamp()) // 3600,
        none="",
        **values,
    )
    return [(str(row["model"]), int(row["calls"]), int(row["unpriced"])) for row in rows]


def figures(total: dict[str, int]) -> dict[str, Any]:
    """Give sums as they are shown."""
    return {
        **{name: total[name] for name in ("calls", "refused", "failed")},
        **{name: total[name] for name in FIGURES if name.endswith("_tokens") and name != "saved_tokens"},
        "seconds": total["milliseconds"] / 1000,
        "usd": usd_text(total["nano_usd"]),
        "nano_usd": total["nano_usd"],
        **{name: total[name] for name in UNCERTAIN},
        **{name: total[name] for name in ("cache_hits", "saved_tokens")},
        "saved_usd": usd_text(total["saved_nano_usd"]),
        "saved_nano_usd": total["saved_nano_usd"],
    }


def budgets(connection: Connection, now: float, *, project_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Give what is left of each budget of projects, and of tokens that are not revoked; the fullest first.

    Beyond SORTED they come in the order of their ids instead: to sort them, all would have to be read.
    """
    rows = _budgets(connection, now, project_id)
    first = list(islice(rows, SORTED + 1))
    if len(first) <= SORTED:
        first.sort(key=lambda row: -row["percent"])
    yield from first
    yield from rows


def _budgets(connection: Connection, now: float, project_id: str | None) -> Iterator[dict[str, Any]]:
    for side, page in chain(_limited(connection, project_id), _claimed(connection, project_id)):
        rows = {row["id"]: row for row in page}
        marks, guessed = reached(connection, list(rows)), assumed.sums(connection, side, list(rows))
        limited = {id_: limits_of(side, row) for id_, row in rows.items()}
        for id_, gauge in budgets_of(connection, side, limited, now):
            if not (subject_of(side).table or gauge.used or gauge.held):
                continue  # of a user who has used nothing in this period
            start = gauge.starts_at
            mark = marks.get((id_, gauge.limit, start))
            share = sum(int(one[gauge.takes]) for one in guessed[id_] if one["hour"] >= start // HOUR)
            yield _budget(side, rows[id_], gauge, mark, share)


def _budget(side: Side, row: Row, gauge: Gauge, mark: int | None, share: int) -> dict[str, Any]:
    unit = gauge.limit.partition("/")[0]
    return {
        "side": side,
        "project": row["project_id"],
        "project_name": row["project_name"],
        "token": row["token"],
        "token_name": row["token_name"],
        "token_prefix": row["prefix"],
        "name": own_name_in(row["id"]),
        "limit": gauge.limit,
        "allowed": _amount(unit, gauge.allowed),
        "used": _amount(unit, gauge.used),
        "assumed": _amount(unit, share),
        "held": _amount(unit, gauge.held),
        "left": _amount(unit, gauge.left),
        "percent": round(gauge.used * 100 / gauge.allowed, 1) if gauge.allowed else 100.0,
        "reached": mark,
        "resets_at": None
        if gauge.resets_at is None
        else rfc3339(datetime.fromtimestamp(gauge.resets_at, UTC)),
    }


def _limited(connection: Connection, project_id: str | None) -> Iterator[tuple[Side, list[Row]]]:
    """Give projects and tokens that have limits, in pages."""
    chosen = "" if project_id is None else " AND projects.id = :project"
    tables: tuple[tuple[Side, str, str], ...] = (
        (
            "project",
            "SELECT id, id AS project_id, name AS project_name, NULL AS token, NULL AS prefix, "
            "NULL AS token_name, limits FROM projects WHERE limits <> :none AND projects.id > :after",
            "projects.id",
        ),
        (
            "token",
            "SELECT tokens.id, project_id, projects.name AS project_name, tokens.id AS token, prefix, "
            "tokens.name AS token_name, "
            "tokens.limits FROM tokens JOIN projects ON projects.id = project_id "
            "WHERE tokens.limits <> :none AND tokens.active = 1 AND tokens.id > :after",
            "tokens.id",
        ),
    )
    for side, query, order in tables:
        values = {"none": "{}", "after": ""} | ({} if project_id is None else {"project": project_id})
        while page := connection.rows(f"{query}{chosen} ORDER BY {order} LIMIT {CHUNK:d}", **values):
            yield side, page
            values["after"] = page[-1]["id"]


def _claimed(connection: Connection, project_id: str | None) -> Iterator[tuple[Side, list[Row]]]:
    """Give the users, addresses and labels that have used something of what each is allowed, in pages."""
    chosen = "" if project_id is None else " AND projects.id = :project"
    values = {"none": "{}"} | ({} if project_id is None else {"project": project_id})
    for subject in (USER, ADDRESS):
        limited = f"{subject.side}_limits"
        for project in connection.rows(
            f"SELECT id AS project_id, name AS project_name, NULL AS token, NULL AS prefix, "  # noqa: S608
            f"NULL AS token_name, {limited} AS limits FROM projects WHERE {limited} <> :none{chosen} "
            "ORDER BY id",
            **values,
        ):
            for page in _in_use(connection, subject, f"{subject.side}:{project['project_id']}/"):
                yield subject.side, [{**project, "id": id_} for id_ in page]
    for page in _in_use(connection, LABEL, f"{LABEL.side}:"):
        if rows := _limited_labels(connection, page, chosen, values):
            yield LABEL.side, rows


def _limited_labels(
    connection: Connection, ids: Sequence[str], chosen: str, values: Mapping[str, Any]
) -> list[Row]:
    """Give those of the labels that have limits still, with whose they are."""
    owners: dict[str, Row] = {}
    for sql in (
        "SELECT projects.id AS owner, projects.id AS project_id, name AS project_name, NULL AS token, "
        "NULL AS prefix, NULL AS token_name, label_limits FROM projects "
        "WHERE label_limits <> :none AND projects.id IN :owners",
        "SELECT tokens.id AS owner, project_id, projects.name AS project_name, tokens.id AS token, prefix, "
        "tokens.name AS token_name, tokens.label_limits FROM tokens "
        "JOIN projects ON projects.id = project_id WHERE tokens.label_limits <> :none AND tokens.active = 1 "
        "AND tokens.id IN :owners",
    ):
        of = sorted({owner_in(id_) for id_ in ids})
        owners.update((row["owner"], row) for row in connection.rows(f"{sql}{chosen}", owners=of, **values))
    limits_by_label = {owner: json.loads(row["label_limits"]) for owner, row in owners.items()}
    found: list[Row] = []
    for id_ in ids:
        owner, label = owner_in(id_), label_in(id_)
        if of_label := limits_by_label.get(owner, {}).get(label):
            found.append({**owners[owner], "id": id_, "limits": json.dumps(of_label)})
    return found


def _in_use(connection: Connection, subject: Subject, within: str) -> Iterator[list[str]]:
    """Give the ids that begin with `within` of all that has spent something or holds it, in pages."""
    after, end = within, within[:-1] + chr(ord(within[-1]) + 1)
    places = (
        ("spend", "subject", ""),
        *(("holds", column, "AND settled_at = 0 ") for column in subject.columns),
    )
    # Each part ends by itself: there may be any number of users.
    parts = " UNION ".join(
        f"SELECT id FROM (SELECT DISTINCT {column} AS id FROM {table} WHERE {column} > :after "  # noqa: S608
        f"AND {column} < :end {condition}ORDER BY {column} LIMIT {CHUNK:d}) part_{number}"
        for number, (table, column, condition) in enumerate(places)
    )
    while page := connection.rows(f"{parts} ORDER BY id LIMIT {CHUNK:d}", after=after, end=end):
        yield [row["id"] for row in page]
        after = page[-1]["id"]


def _amount(unit: str, amount: int) -> str | int:
    """Give dollars as a decimal, tokens as they are."""
    return amounts.number_text(unit, amount) if unit == amounts.USD else amount


def sums(
    connection: Connection,
    asked: Usage,
    columns: Sequence[str],
    *,
    only: Mapping[str, Collection[str]] | None = None,
    largest: int | None = None,
    ordered: bool = False,
    by_day: bool = False,
) -> Iterator[Row]:
    """Sum the figures by `columns`: all rows, or the `largest` by cost; of some values `only`.

    `ordered`: the most expensive first, and what costs the same by its names. `by_day`: whole days of UTC may
    be told by their first hour.
    """
    conditions, values = _conditions(asked, only)
    parts = _with_days(asked) if by_day and "user_id" not in (*columns, *(only or ())) else None
    if parts is not None:  # which have the hours that are asked for
        conditions = [condition for condition in conditions if not condition.startswith("hour ")]
        values = {name: value for name, value in values.items() if name not in ("since", "until")}
    table = TABLE if parts is None else parts
    conditions.append("calls <> 0")
    figures = ", ".join(f"SUM({name}) AS {name}" for name in FIGURES)
    chosen = ", ".join(columns)
    sql = (
        f"SELECT {chosen}{', ' if columns else ''}{figures} FROM {table} "  # noqa: S608 - of our own names
        f"WHERE {' AND '.join(conditions)}{' GROUP BY ' if columns else ''}{chosen}"
    )
    if ordered or largest is not None:
        sql += f" ORDER BY {', '.join(['SUM(nano_usd) DESC', 'SUM(calls) DESC', *columns])}"
    if largest is not None:
        sql += f" LIMIT {largest:d}"
    return connection.each(sql, **values)


def sums_of_label(
    connection: Connection,
    asked: Usage,
    label: str,
    columns: Sequence[str],
    only: Mapping[str, Collection[str]],
) -> Iterator[Row]:
    """Sum the figures of calls whose headers say something for a label, by `columns` and that `value`."""
    conditions, values = _conditions(asked, only)
    conditions += ["label = :label", "calls > 0"]
    chosen = ", ".join([*columns, "value"])
    figures = ", ".join(f"SUM({name}) AS {name}" for name in FIGURES)
    return connection.each(
        f"SELECT {chosen}, {figures} FROM {LABELS} "  # noqa: S608 - of our own names
        f"WHERE {' AND '.join(conditions)} GROUP BY {chosen}",
        label=label,
        **values,
    )


def _with_days(asked: Usage) -> str | None:
    """Return what to read for days: their sums, with the hours at both ends added or taken off.

    They have some twenty times as few rows as the hours, and many more times where there are many users. A
    day of another time zone is one of UTC without its first hours, and with the first of the next. None
    where the hours are not more.
    """
    since, until = hour_of(asked.since), hour_of(asked.until, up=True)
    if since is None or until is None:
        return None
    begin, end = ((hour + 12) // 24 * 24 for hour in (since, until))
    if begin >= end or abs(begin - since) + abs(end - until) >= until - since:
        return None
    parts = [_part(DAYS, begin, end)]
    for first, last, sign in (
        (since, begin, ""),
        (begin, since, "-"),
        (end, until, ""),
        (until, end, "-"),
    ):
        if first < last:
            parts.append(_part(TABLE, first, last, sign))
    return f"({' UNION ALL '.join(parts)}) parts"


def _part(table: str, first: int, last: int, sign: str = "") -> str:
    columns = ", ".join((*KEY_OF_DAYS, *(f"{sign}{name} AS {name}" for name in FIGURES)))
    return f"SELECT {columns} FROM {table} WHERE hour >= {first:d} AND hour < {last:d}"  # noqa: S608


def _conditions(
    asked: Usage, only: Mapping[str, Collection[str]] | None = None, *, hour: str = "hour"
) -> tuple[list[str], dict[str, Any]]:
    """Write what is asked for as SQL, and its values. `hour`: the column with a row's hour."""
    conditions, values = list[str](), dict[str, Any]()
    for text, value in (
        (f"{hour} >= :since", hour_of(asked.since)),
        (f"{hour} < :until", hour_of(asked.until, up=True)),
        ("project_id = :project_id", asked.project_id),
        ("token_id = :token_id", asked.token_id),
        ("project_id IN :projects", asked.projects),
        *((f"{column} IN :only_{column}", list(names)) for column, names in (only or {}).items()),
    ):
        if value is not None:
            conditions.append(text)
            values[text.rpartition(":")[2]] = value
    return conditions, values


def _shown(way: str, row: Row, zone: tzinfo) -> str | None:
    if way in TIMES:
        return name_of(way, row["hour"], zone)
    return str(row[COLUMNS[way]]) or None


ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "project": ("SELECT id, name FROM projects WHERE id IN :ids", {"name": "project_name"}),
    "token": (
        "SELECT id, name, prefix, metadata FROM tokens WHERE id IN :ids",
        {"name": "token_name", "prefix": "token_prefix", "metadata": "token_metadata"},
    ),
}
"""It is what people know projects and tokens by: where it stands, and what it is called in a report."""


def names_of(
    connection: Connection, by: Sequence[str], keys: Iterable[tuple[str | None, ...]]
) -> dict[tuple[str | None, ...], dict[str, Any]]:
    """Give what people call the projects and tokens among the keys."""
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
