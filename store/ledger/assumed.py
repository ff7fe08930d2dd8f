"""Correct charges that were assumed: calls whose end is not known were charged with what they held.

A row of the table ``assumed_charges`` says what such a call was charged with and what its event says, so that
a person who knows better can put it right. It goes when that was done, or when no budget's period needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from store.audit.log import AuditLog
from store.core.errors import Invalid, NotFound
from store.database.engine import Connection, Row
from store.tokens import naming
from store.tokens.calendar import HOUR, USUAL
from store.tokens.subjects import Side, ids_of_row, subject_of, subjects_of

TABLE = "assumed_charges"
KEEP_SECONDS = 62 * 86400
"""As long as the longest period that begins anew, and then some."""
CHUNK = 500
DIED = "proxy_died"


@dataclass(frozen=True, slots=True)
class Assumed:
    """Describes one such call."""

    call_id: str
    token_id: str
    project_id: str
    outcome: str
    hour: int
    """For which it was charged."""
    at: int
    tokens: int
    """It was charged with."""
    nano_usd: int
    known_tokens: int
    """Its event says."""
    known_nano_usd: int
    used_hour: int
    """In which it began: that of its line in the hourly sums, as are the next three."""
    user_id: str
    model: str
    endpoint: str
    session_key: str | None = None
    user_key: str | None = None
    address_key: str | None = None
    label_1_key: str | None = None
    label_2_key: str | None = None
    label_3_key: str | None = None
    label_4_key: str | None = None

    @property
    def excess(self) -> tuple[int, int]:
        """Give the tokens and nano-USD that were charged beyond what the event says."""
        return self.tokens - self.known_tokens, self.nano_usd - self.known_nano_usd

    def row(self) -> Row:
        return {name: getattr(self, name) for name in self.__slots__}


def note(connection: Connection, charges: Sequence[Assumed]) -> None:
    """Remember what was assumed, in the transaction that charges it."""
    found = [one for one in charges if max(one.excess) > 0]
    if found:
        connection.run(f"DELETE FROM {TABLE} WHERE call_id IN :ids", ids=[one.call_id for one in found])  # noqa: S608
        connection.insert(TABLE, [one.row() for one in found])


def clean_up(connection: Connection, now: float) -> None:
    """Forget what no budget needs any more."""
    connection.run(f"DELETE FROM {TABLE} WHERE at < :before", before=floor(now) - KEEP_SECONDS)  # noqa: S608


def find(connection: Connection, *, call_id: str | None, project_id: str | None) -> list[Assumed]:
    """Return one call, or (None) all that a proxy's death has cut off, oldest first."""
    column, value = ("outcome", DIED) if call_id is None else ("call_id", call_id)
    rows = connection.rows(
        f"SELECT * FROM {TABLE} WHERE {column} = :value ORDER BY at, call_id",  # noqa: S608 - one of two names
        value=value,
    )
    found = [Assumed(**row) for row in rows]
    return [one for one in found if project_id is None or one.project_id == project_id]


def call_meant(connection: Connection, text: str) -> str:
    """Return the id of the only such call that begins with `text`; else `text` itself. Raises Invalid."""
    query = f"SELECT call_id AS id, model AS name FROM {TABLE} WHERE "  # noqa: S608
    return naming.only_beginning(connection, query, "call_id", "calls", text)


def settle(
    connection: Connection,
    audit: AuditLog,
    *,
    call_id: str | None = None,
    project_id: str | None = None,
    tokens: int | None = None,
    nano_usd: int | None = None,
) -> list[Assumed]:
    """Charge calls with what their events say, or one with `tokens` and `nano_usd`; see :func:`find`.

    Raises NotFound for a call that was not charged with an assumption, or is put right already.
    """
    with audit.change("budget.settle") as change:
        found = find(connection, call_id=call_id, project_id=project_id)
        if call_id is not None and not found:
            raise NotFound(
                f"call {call_id} was not charged with an assumption, or is put right already; "
                "`llmproxy report budgets` shows where something is assumed."
            )
        for project in sorted({one.project_id for one in found}):  # in the order of all that lock several
            connection.lock(f"ledger {project}")
        for one in found:
            new_tokens = one.known_tokens if tokens is None else tokens
            new_nano = one.known_nano_usd if nano_usd is None else nano_usd
            if new_tokens < 0 or new_nano < 0:
                raise Invalid("a call can't have used less than nothing.")
            _correct(connection, one, new_tokens - one.tokens, new_nano - one.nano_usd)
            change.about(project_id=one.project_id, token_id=one.token_id)
            was = {"call": None, "tokens": one.tokens, "nano_usd": one.nano_usd}
            change.note(was, {"call": one.call_id, "tokens": new_tokens, "nano_usd": new_nano})
        for start in range(0, len(found), CHUNK):
            ids = [one.call_id for one in found[start : start + CHUNK]]
            connection.run(f"DELETE FROM {TABLE} WHERE call_id IN :ids", ids=ids)  # noqa: S608
    return found


def _correct(connection: Connection, one: Assumed, tokens: int, nano_usd: int) -> None:
    for kind, subject in subjects_of(ids_of_row(one.row())):
        for period in kind.periods:
            connection.run(
                "UPDATE spend SET tokens = tokens + :tokens, nano_usd = nano_usd + :nano_usd, "
                "assumed = assumed - 1 "
                "WHERE subject = :subject AND period = :period AND starts_at = :starts_at",
                tokens=tokens,
                nano_usd=nano_usd,
                subject=subject,
                period=period,
                starts_at=USUAL.start(period, one.hour * HOUR),
            )


SUMS = "SUM(tokens - known_tokens) AS tokens, SUM(nano_usd - known_nano_usd) AS nano_usd"
"""It is that of several charges, what was charged beyond what their events say."""


def sums(connection: Connection, side: Side, subjects: Sequence[str]) -> dict[str, list[Row]]:
    """Return what is assumed of tokens or projects, by hour, as SUMS."""
    found: dict[str, list[Row]] = {subject: [] for subject in subjects}
    for column in subject_of(side).columns:
        for row in connection.rows(
            f"SELECT {column} AS subject, hour, {SUMS} FROM {TABLE} WHERE {column} IN :subjects "  # noqa: S608
            f"GROUP BY {column}, hour",
            subjects=list(subjects),
        ):
            found[row["subject"]].append(row)
    return found
