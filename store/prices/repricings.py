"""Carry another cost of a call into the sums: hourly usage, and what budgets were used of.

The table ``repricings`` has, for each call that was ever repriced, the amount that the sums hold for it
now. It is written in the transaction that changes the sums, so the same repricing counts once, however
often it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from store.core.event import Cost, UsageEvent
from store.database.engine import Connection
from store.tokens.calendar import HOUR, PERIODS, USUAL
from store.usage.rollups import DAYS, FIGURES, LABELS, TABLE, Line, RollUps, last_rolled, line_of, nano_usd

KEPT = ("nano_usd", "lower_bound", "approximate")
"""Figures of a call that the table has."""
REPRICED = (*KEPT, "unpriced")
"""Figures that another cost changes."""
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Repricing:
    """Holds a call's event with the cost that it had when it was recorded, and its cost now."""

    event: UsageEvent
    cost: Cost


def apply(connection: Connection, repricings: Iterable[Repricing], rollups: RollUps) -> int:
    """Bring the sums up to date, within a transaction of the caller; the number of calls that changed them.

    Calls that this store never counted (imported ones, another store's) are passed over.
    """
    known: dict[str, bool] = {}
    lines: list[Line] = []
    changes: list[tuple[Line, int]] = []
    for one in repricings:
        line, now = line_of(one.event), line_of(replace(one.event, cost=one.cost))
        amount = nano_usd(one.cost.usd)
        if amount is None or not _is_counted(connection, one.event, known):
            continue
        call_id = str(one.event.event_id)
        before, held = _note(connection, call_id, line, now)
        difference = {name: now.figures[name] - held[name] for name in REPRICED}
        if not any(difference.values()):
            continue
        lines.append(Line(line.key, dict.fromkeys(FIGURES, 0) | difference, labels=line.labels))
        charged = held["nano_usd"] if before else max(held["nano_usd"], _held(connection, call_id))
        changes.append((line, amount - charged))
    rollups.add(connection, lines)
    _forget_marks_before_there_were_any(connection, lines)
    _correct_spend(connection, changes)
    return len(lines)


def _is_counted(connection: Connection, event: UsageEvent, known: dict[str, bool]) -> bool:
    """Tell whether the sums have the calls of this event's writer, or will have them."""
    writer = str(event.writer)
    if writer not in known:
        known[writer] = last_rolled(connection, writer) > 0
    return known[writer]


def _note(connection: Connection, call_id: str, line: Line, now: Line) -> tuple[bool, dict[str, int]]:
    """Remember what the sums are going to hold for a call.

    Returns whether it was repriced before, and what they hold now.
    """
    found = {name: now.figures[name] for name in KEPT}
    rows = connection.rows(f"SELECT {', '.join(KEPT)} FROM repricings WHERE call_id = :id", id=call_id)  # noqa: S608
    if not rows:
        connection.insert("repricings", [{"call_id": call_id, **found}])
        return False, {name: line.figures[name] for name in REPRICED}
    if dict(rows[0]) != found:
        assigned = ", ".join(f"{name} = :{name}" for name in KEPT)
        connection.run(f"UPDATE repricings SET {assigned} WHERE call_id = :id", id=call_id, **found)  # noqa: S608
    return True, {**{name: int(rows[0][name]) for name in KEPT}, "unpriced": 0}


def _forget_marks_before_there_were_any(connection: Connection, lines: Sequence[Line]) -> None:
    """Set to 0 what falls below: sums of calls from before marks were counted hold none to take away."""
    hours = sorted({hour for line in lines for hour in (line.key[0], line.key[0] - line.key[0] % 24)})
    for table in (TABLE, DAYS, LABELS):
        for name in ("lower_bound", "approximate"):
            for start in range(0, len(hours), CHUNK):
                connection.run(
                    f"UPDATE {table} SET {name} = 0 WHERE {name} < 0 AND hour IN :hours",  # noqa: S608
                    hours=hours[start : start + CHUNK],
                )


def _held(connection: Connection, call_id: str) -> int:
    """Read what was held for a call: a budget was charged with it where the price was not known."""
    rows = connection.rows("SELECT nano_usd FROM holds WHERE call_id = :call_id", call_id=call_id)
    return int(rows[0]["nano_usd"]) if rows else 0


def _correct_spend(connection: Connection, changes: Sequence[tuple[Line, int]]) -> None:
    """Correct the rows of budgets, in one order, so that two processes never wait for each other in a
    circle."""
    sums: dict[tuple[str, str, int], int] = {}
    for line, nano in changes:
        hour, project_id, token_id, *_ = line.key
        for subject in filter(None, (token_id, project_id)):
            for period in PERIODS:
                key = (subject, period, USUAL.start(period, hour * HOUR))
                sums[key] = sums.get(key, 0) + nano
    for (subject, period, start), nano in sorted(sums.items()):
        connection.run(
            "UPDATE spend SET nano_usd = nano_usd + :nano "
            "WHERE subject = :subject AND period = :period AND starts_at = :start",
            nano=nano,
            subject=subject,
            period=period,
            start=start,
        )
