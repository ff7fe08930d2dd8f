"""Find what is wrong: from what proxies and dispatchers say of themselves, and from the hourly sums.

Summaries hold no text that a backend or a store has said: it may quote what was sent to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from store.database.engine import Connection
from store.database.location import StoreLocation
from store.spool.backlog import backlogs
from store.spool.status_files import KEEP_SECONDS, Status, read_all
from store.tokens.amounts import NANO
from store.upkeep.alerts import DISPATCHER_FAILING, PROXY_UNHEALTHY, SPEND_RATE, Condition
from store.upkeep.incidents import Incident, elsewhere, incidents, missing
from store.usage.rollups import TABLE as HOURS

WEEK_HOURS = 7 * 24
ALERTS = {
    "proxy": PROXY_UNHEALTHY,
    "store": PROXY_UNHEALTHY,
    "disk": PROXY_UNHEALTHY,
    "dispatcher": DISPATCHER_FAILING,
}
"""By what an incident is about; others are not told."""


@dataclass(frozen=True, slots=True)
class SpendRule:
    """Says when a project spends unusually fast."""

    factor: float = 3.0
    """So many times what it spent in the same hours of the week before; 0 for never."""
    hours: int = 6
    """Up to now, the present one with them."""
    minimum: float = 10.0
    """Dollars below which nothing is said."""


def unhealthy(store: StoreLocation, spool: Path, others: Sequence[Status], here: str) -> Iterator[Condition]:
    """Give what is wrong with proxies and dispatchers, one condition for all that have the same trouble.

    `here`: how this spool is called, as ``HOST:SPOOL``; `others`: proxies with another one.
    """
    statuses = read_all(spool)
    found = [
        *incidents(store, spool, statuses, backlogs(spool), store_given=False),
        *missing(statuses, KEEP_SECONDS),
        *elsewhere(others),
        *missing(others, KEEP_SECONDS),
    ]
    groups: dict[tuple[str, str, str], dict[str, Incident]] = {}
    for incident in found:
        if (alert := ALERTS.get(incident.what)) is not None:
            place = incident.place or here
            key = incident.subject if alert == DISPATCHER_FAILING else incident.code
            groups.setdefault((alert, place, key), {}).setdefault(incident.subject, incident)
    for (alert, place, key), alike in groups.items():
        first, *rest = alike.values()
        more = f", and so with {len(rest)} more" if rest else ""
        yield Condition(
            alert,
            first.code,
            first.subject,
            f"{first.text}{more} ({place})",
            place,
            first.error,
            key=key,
        )


def fast_spenders(connection: Connection, rule: SpendRule, now: datetime) -> Iterator[Condition]:
    """Give the projects that spend faster than in the same hours of the week before.

    The hours of the week before are whole, so that the present one, which is not, raises no alarm too early.
    """
    if rule.factor <= 0:
        return
    until = int(now.timestamp()) // 3600 + 1
    since = until - rule.hours
    for id_, spent in _spent(connection, since, until).items():
        if spent < rule.minimum:
            continue
        before = _spent(connection, since - WEEK_HOURS, until - WEEK_HOURS, id_).get(id_, 0.0)
        if spent > rule.factor * before and not _is_new(connection, id_, since - WEEK_HOURS):
            yield _fast(connection, id_, rule, spent, before)


def _fast(connection: Connection, id_: str, rule: SpendRule, spent: float, before: float) -> Condition:
    (named,) = connection.rows("SELECT name FROM projects WHERE id = :id", id=id_) or [{"name": None}]
    summary = (
        f"Project {named['name'] or id_} has spent ${spent:,.2f} in {rule.hours} h; in the same hours of the "
        f"week before it was ${before:,.2f}"
    )
    return Condition(
        SPEND_RATE,
        "faster_than_week_before",
        "",
        summary,
        project=(id_, named["name"]),
        spend=(rule.hours, round(spent, 6), round(before, 6)),
        key=id_,
    )


def _spent(connection: Connection, since: int, until: int, project_id: str | None = None) -> dict[str, float]:
    """Return what projects spent in these hours, in dollars."""
    values = {} if project_id is None else {"project_id": project_id}
    rows = connection.rows(
        f"SELECT project_id, SUM(nano_usd) AS nano_usd FROM {HOURS} "  # noqa: S608
        f"WHERE hour >= :since AND hour < :until {'AND project_id = :project_id ' if values else ''}"
        "GROUP BY project_id",
        since=since,
        until=until,
        **values,
    )
    return {row["project_id"]: float(row["nano_usd"] or 0) / NANO for row in rows if row["project_id"]}


def _is_new(connection: Connection, project_id: str, hour: int) -> bool:
    """Tell whether a project had no calls until this hour, so that there is nothing to compare with."""
    (row,) = connection.rows(
        f"SELECT MIN(hour) AS first FROM {HOURS} WHERE project_id = :id",  # noqa: S608
        id=project_id,
    )
    return row["first"] is None or row["first"] > hour
