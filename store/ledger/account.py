"""What one token or project has used of each of its limits: read within a transaction, and kept up in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Literal

from store import limits as periods
from store.engine import Connection, Row
from store.ledger.claims import Hit, Room, Side, Standing
from store.limits import HOUR, TOTAL, USD, Budget, Limits
from store.models import Grant, Project, Token

RATE_SECONDS = 60

SIDES: tuple[Side, ...] = ("token", "project")

Amount = Literal["requests", "tokens", "nano_usd", "running"]
"""What a limit counts."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a claim takes."""

    requests: int = 0
    tokens: int = 0
    nano_usd: int = 0
    running: int = 0


@dataclass(slots=True)
class Gauge:
    """One limit, and what is taken of it."""

    limit: str
    """As in :attr:`store.ledger.claims.Hit.limit`."""
    side: Side
    takes: Amount
    allowed: int
    """Top-ups are in it."""
    used: int = 0
    held: int = 0
    """By calls under way."""
    resets_at: int | None = None
    by_second: dict[int, int] | None = None
    """Of a rate: what was taken in each second that still counts."""

    @property
    def left(self) -> int:
        return max(0, self.allowed - self.used - self.held)

    def hit(self, amounts: Amounts, now: float) -> Hit | None:
        """The limit, if it stands against a claim. What a claim does not ask for cannot stand against it."""
        asked: int = getattr(amounts, self.takes)
        if asked <= 0 or self.used + self.held + asked <= self.allowed:
            return None
        return Hit(
            self.limit,
            self.side,
            self.allowed,
            self.used + self.held,
            asked,
            resets_at=self.resets_at,
            retry_after=self._retry_after(asked, now),
        )

    def take(self, amounts: Amounts, second: int) -> None:
        taken: int = getattr(amounts, self.takes)
        if self.by_second is not None:
            self.by_second[second] = self.by_second.get(second, 0) + taken
            self.used += taken
        elif self.limit == "max_requests" and self.side == "token":
            self.used += taken  # it is counted at once, in a column of its own
        else:
            self.held += taken

    def room(self, now: float) -> Room:
        """Of a rate."""
        newest = max((second for second, taken in (self.by_second or {}).items() if taken), default=None)
        return Room(self.allowed, self.left, 0.0 if newest is None else _free_in(newest, now))

    def _retry_after(self, asked: int, now: float) -> float | None:
        if self.takes == "running":
            return 1.0  # nobody knows when a call ends
        if self.by_second is None or asked > self.allowed:
            return None
        over = self.used + asked - self.allowed
        for second, taken in sorted(self.by_second.items()):
            over -= taken
            if over <= 0:
                return _free_in(second, now)
        return float(RATE_SECONDS)


def _free_in(second: int, now: float) -> float:
    """Until what was taken in `second` counts no more: 60 s after the last moment of it."""
    return max(0.0, second + 1 + RATE_SECONDS - now)


@dataclass(slots=True)
class Account:
    """The gauges of one token or project."""

    subject: str
    """Its id."""
    gauges: list[Gauge] = field(default_factory=list)

    @property
    def has_rate(self) -> bool:
        return any(gauge.by_second is not None for gauge in self.gauges)


def account_of(
    connection: Connection, grant: Grant, side: Side, now: float, *, at: float | None = None
) -> Account:
    """Of the grant's token or project. The periods are those around `at`, or now."""
    if side == "token":
        return Account(grant.token.id, gauges_of_token(connection, grant.token, now, at=at))
    return Account(grant.project.id, gauges_of_project(connection, grant.project, now, at=at))


def gauges_of_token(
    connection: Connection, token: Token, now: float, *, at: float | None = None
) -> list[Gauge]:
    """What a token has used of each of its limits."""
    gauges = list(_gauges(connection, "token", token.id, token.limits, now, at or now))
    if token.max_requests is not None:
        gauges.insert(0, _quota_of_token(connection, token.id))
    return gauges


def gauges_of_project(
    connection: Connection, project: Project, now: float, *, at: float | None = None
) -> list[Gauge]:
    """What all the tokens of a project have used of each of its limits."""
    return list(_gauges(connection, "project", project.id, project.limits, now, at or now))


def longest(hits: list[Hit]) -> Hit | None:
    """Of several limits the one that stands longest: what never resets, then what resets last, then rates."""

    def lasting(hit: Hit) -> tuple[int, float]:
        if hit.is_rate:
            return (0, float("inf") if hit.retry_after is None else hit.retry_after)
        return (1, float("inf") if hit.resets_at is None else hit.resets_at)

    return max(hits, key=lasting, default=None)


def standing(found: list[Account], now: float) -> Standing:
    """The rates with the least room."""
    rooms: dict[str, Room] = {}
    for account in found:
        for gauge in account.gauges:
            if gauge.by_second is not None:
                room = gauge.room(now)
                if gauge.takes not in rooms or room.remaining < rooms[gauge.takes].remaining:
                    rooms[gauge.takes] = room
    return Standing(rooms.get("requests"), rooms.get("tokens"))


def _quota_of_token(connection: Connection, token_id: str) -> Gauge:
    """Counted in the token's own column, which holds the calls from before it had a limit, too."""
    rows = connection.rows("SELECT request_count, max_requests FROM tokens WHERE id = :id", id=token_id)
    used = rows[0]["request_count"] if rows else 0
    # A token that is no more has no call left; one whose limit was just taken away has.
    allowed = rows[0]["max_requests"] if rows else 0
    return Gauge("max_requests", "token", "requests", periods.LARGEST if allowed is None else allowed, used)


def _gauges(
    connection: Connection, side: Side, subject: str, limits: Limits, now: float, at: float
) -> Iterator[Gauge]:
    if not limits.need_claims:
        return
    held = _Held(connection, side, subject, now)
    if limits.max_requests is not None:
        spent = _spent(connection, subject, [TOTAL], at)
        used = spent[TOTAL]["requests"] if TOTAL in spent else 0
        yield Gauge("max_requests", side, "requests", limits.max_requests, used, held.sum("requests"))
    if limits.max_concurrent is not None:
        yield Gauge("max_concurrent", side, "running", limits.max_concurrent, held=held.sum("running"))
    if limits.requests_per_minute is not None or limits.tokens_per_minute is not None:
        yield from _rates(connection, side, subject, limits, now)
    yield from _budgets(connection, side, subject, limits.budgets, at, held)


def budgets_of(connection: Connection, side: Side, subject: str, limits: Limits, now: float) -> list[Gauge]:
    """The budgets of one token or project alone."""
    if not limits.budgets:
        return []
    held = _Held(connection, side, subject, now)
    return list(_budgets(connection, side, subject, limits.budgets, now, held))


def _budgets(
    connection: Connection, side: Side, subject: str, budgets: Sequence[Budget], at: float, held: _Held
) -> Iterator[Gauge]:
    if not budgets:
        return
    spent = _spent(connection, subject, {budget.period for budget in budgets}, at)
    topups = connection.rows(
        "SELECT unit, period, amount, at FROM topups WHERE subject = :subject", subject=subject
    )
    for budget in budgets:
        start, end = periods.period_start(budget.period, at), periods.period_end(budget.period, at)
        takes: Amount = "nano_usd" if budget.unit == USD else "tokens"
        added = sum(
            row["amount"]
            for row in topups
            if (row["unit"], row["period"]) == (budget.unit, budget.period)
            and start <= row["at"] < (end or periods.LARGEST)
        )
        used = spent[budget.period][takes] if budget.period in spent else 0
        reserved = held.sum(takes, start // HOUR, (end or periods.LARGEST) // HOUR)
        yield Gauge(budget.name, side, takes, budget.amount + added, used, reserved, end)


def _spent(connection: Connection, subject: str, names: Iterable[str], at: float) -> dict[str, Row]:
    """What is settled of the periods around `at`."""
    starts = {name: periods.period_start(name, at) for name in names}
    rows = connection.rows(
        "SELECT period, starts_at, requests, tokens, nano_usd FROM spend "
        "WHERE subject = :subject AND period IN :periods AND starts_at IN :starts",
        subject=subject,
        periods=sorted(starts),
        starts=sorted(set(starts.values())),
    )
    return {row["period"]: row for row in rows if row["starts_at"] == starts[row["period"]]}


def _rates(connection: Connection, side: Side, subject: str, limits: Limits, now: float) -> Iterator[Gauge]:
    # Of the first of these 61 seconds only a part is within the last 60. Later ones are of clocks ahead.
    rows = connection.rows(
        "SELECT second, requests, tokens FROM rates WHERE subject = :subject AND second >= :since",
        subject=subject,
        since=floor(now) - RATE_SECONDS,
    )
    for limit, takes, allowed in (
        ("requests_per_minute", "requests", limits.requests_per_minute),
        ("tokens_per_minute", "tokens", limits.tokens_per_minute),
    ):
        if allowed is not None:
            by_second = {row["second"]: row[takes] for row in rows}
            taken = sum(by_second.values())
            assert takes in ("requests", "tokens")
            yield Gauge(limit, side, takes, allowed, taken, by_second=by_second)  # type: ignore[arg-type]


class _Held:
    """What the calls under way hold, by the hour in which they were reserved."""

    def __init__(self, connection: Connection, side: Side, subject: str, now: float) -> None:
        column = "token_id" if side == "token" else "project_id"
        self._rows = connection.rows(
            "SELECT hour, SUM(requests) AS requests, SUM(tokens) AS tokens, SUM(nano_usd) AS nano_usd, "  # noqa: S608 - one of two names
            f"SUM(running) AS running FROM holds WHERE {column} = :subject AND settled_at = 0 "
            "AND expires_at > :now GROUP BY hour",
            subject=subject,
            now=floor(now),
        )

    def sum(self, amount: Amount, first: int = 0, end: int = periods.LARGEST) -> int:
        return sum(int(row[amount]) for row in self._rows if first <= row["hour"] < end)
