"""Read what one token or project has used of each of its limits, and keep it up, in a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import floor
from typing import Any

from store.database.engine import Connection, Row
from store.ledger.messages import LimitExceeded, RateStatus, RateWindow
from store.tokens.amounts import LARGEST, USD, Budget
from store.tokens.calendar import HOUR, TOTAL, USUAL, Calendar
from store.tokens.limits import LIMITS, Amount, Limit, Limits, Window, limit_named
from store.tokens.models import Grant, Project, Token
from store.tokens.subjects import PROJECT, TOKEN, Side, Subject, own_name_in, subject_of, subjects_of

RATE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Amounts:
    """Says what a claim takes."""

    requests: int = 0
    tokens: int = 0
    nano_usd: int = 0
    running: int = 0


@dataclass(slots=True)
class Gauge:
    """Holds one limit, and what is taken of it."""

    limit: str
    """As in :attr:`store.ledger.messages.Hit.limit`."""
    side: Side
    takes: Amount
    allowed: int
    """Top-ups are in it."""
    used: int = 0
    held: int = 0
    """By calls under way."""
    resets_at: int | None = None
    starts_at: int = 0
    """It is that of a budget: when its period began."""
    by_second: dict[int, int] | None = None
    """It is that of a rate: what was taken in each second that still counts."""
    counted_at_once: bool = False
    """It tells whether what is taken is counted as used when it is reserved."""
    name: str | None = None
    """It is that of a claimed subject: ``ada``, ``team=search``."""

    @property
    def left(self) -> int:
        return max(0, self.allowed - self.used - self.held)

    def hit(self, amounts: Amounts, now: float) -> LimitExceeded | None:
        """Give the limit, if it stands against a claim.

        What a claim does not ask for cannot stand against it.
        """
        asked: int = getattr(amounts, self.takes)
        if asked <= 0 or self.used + self.held + asked <= self.allowed:
            return None
        return LimitExceeded(
            self.limit,
            self.side,
            self.allowed,
            self.used + self.held,
            asked,
            resets_at=self.resets_at,
            starts_at=self.starts_at,
            retry_after=self._retry_after(asked, now),
        )

    def take(self, amounts: Amounts, second: int) -> None:
        taken: int = getattr(amounts, self.takes)
        if self.by_second is not None:
            self.by_second[second] = self.by_second.get(second, 0) + taken
            self.used += taken
        elif self.counted_at_once:
            self.used += taken
        else:
            self.held += taken

    def room(self, now: float) -> RateWindow:
        """Give what is left of a rate."""
        newest = max((second for second, taken in (self.by_second or {}).items() if taken), default=None)
        return RateWindow(self.allowed, self.left, 0.0 if newest is None else _free_in(newest, now))

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
    """Give the seconds until what was taken in `second` counts no more: 60 s after the last moment of it."""
    return max(0.0, second + 1 + RATE_SECONDS - now)


@dataclass(slots=True)
class Account:
    """Holds the gauges of one token or project."""

    subject: str
    """Its id."""
    gauges: list[Gauge] = field(default_factory=list)

    def hits(self, amounts: Amounts, now: float) -> list[LimitExceeded]:
        """Give the limits that stand against a claim."""
        found = (gauge.hit(amounts, now) for gauge in self.gauges)
        return [replace(hit, subject=self.subject) for hit in found if hit]

    def of_window(self, window: Window) -> Account:
        """Give the same with the gauges alone that count over this window."""
        return Account(self.subject, [one for one in self.gauges if limit_named(one.limit).window is window])

    @property
    def has_rate(self) -> bool:
        return any(gauge.by_second is not None for gauge in self.gauges)


def account_of(
    connection: Connection, subject: Subject, id_: str, grant: Grant, now: float, *, at: float | None = None
) -> Account:
    """Read the account of one subject of a call. The periods are those around `at`, or now."""
    if subject is TOKEN:
        return Account(id_, gauges_of_token(connection, grant.token, now, at=at))
    return Account(
        id_, list(_gauges(connection, subject, id_, subject.limits_of(grant, id_), now, at or now))
    )


def gauges_of_grant(connection: Connection, grant: Grant, now: float) -> list[Gauge]:
    """Give what is used of each limit that a call with this grant, and what it claims, counts for."""
    accounts = (account_of(connection, subject, id_, grant, now) for subject, id_ in subjects_of(grant.ids))
    return [gauge for account in accounts for gauge in account.gauges]


def gauges_of(connection: Connection, side: Side, id_: str, limits: Limits, now: float) -> list[Gauge]:
    """Give what one subject has used of each of these limits."""
    return list(_gauges(connection, subject_of(side), id_, limits, now, now))


def gauges_of_token(
    connection: Connection, token: Token, now: float, *, at: float | None = None
) -> list[Gauge]:
    """Give what a token has used of each of its limits."""
    gauges = list(_gauges(connection, TOKEN, token.id, token.limits, now, at or now))
    if token.max_requests is not None:
        gauges.insert(0, _quota_of_token(connection, token.id))
    return gauges


def gauges_of_project(
    connection: Connection, project: Project, now: float, *, at: float | None = None
) -> list[Gauge]:
    """Give what all the tokens of a project have used of each of its limits."""
    return list(_gauges(connection, PROJECT, project.id, project.limits, now, at or now))


def longest(hits: list[LimitExceeded]) -> LimitExceeded | None:
    """Choose the limit that stands longest: what never resets, then what resets last, then rates."""

    def lasting(hit: LimitExceeded) -> tuple[int, float]:
        if hit.is_rate:
            return (0, float("inf") if hit.retry_after is None else hit.retry_after)
        return (1, float("inf") if hit.resets_at is None else hit.resets_at)

    return max(hits, key=lasting, default=None)


def standing(found: list[Account], now: float) -> RateStatus:
    """Give the rates with the least room."""
    rooms: dict[str, RateWindow] = {}
    for account in found:
        for gauge in account.gauges:
            if gauge.by_second is not None:
                room = gauge.room(now)
                if gauge.takes not in rooms or room.remaining < rooms[gauge.takes].remaining:
                    rooms[gauge.takes] = room
    return RateStatus(rooms.get("requests"), rooms.get("tokens"))


def _quota_of_token(connection: Connection, token_id: str) -> Gauge:
    """Read a token's quota from its own column, which holds the calls from before it had a limit, too."""
    rows = connection.rows("SELECT request_count, max_requests FROM tokens WHERE id = :id", id=token_id)
    used = rows[0]["request_count"] if rows else 0
    # A token that is no more has no call left; one whose limit was just taken away has.
    allowed = rows[0]["max_requests"] if rows else 0
    if allowed is None:
        allowed = LARGEST
    return Gauge("max_requests", "token", "requests", allowed, used, counted_at_once=True)


def _gauges(
    connection: Connection, subject: Subject, id_: str, limits: Limits, now: float, at: float
) -> Iterator[Gauge]:
    use = _Use(_Page(connection, subject, [id_], now, at), id_, limits.calendar)
    for limit, value in limits.counted:
        assert limit.window is not None
        yield from READERS[limit.window](use, limit, value)


def budgets_of(
    connection: Connection, side: Side, limits: Mapping[str, Limits], now: float
) -> Iterator[tuple[str, Gauge]]:
    """Give the budgets alone of some hundreds of tokens or projects; `limits` are by their ids."""
    ids = [id_ for id_, each in limits.items() if each.budgets]
    names = {budget.period for id_ in ids for budget in limits[id_].budgets}
    page = _Page(connection, subject_of(side), ids, now, now)
    for id_ in ids:
        for gauge in _budgets(
            _Use(page, id_, limits[id_].calendar, names), LIMITS["budgets"], limits[id_].budgets
        ):
            yield id_, gauge


class _Page:
    """Reads what is used of some subjects of one kind, for all of them where it is needed.

    The periods are those around `at`.
    """

    def __init__(
        self, connection: Connection, subject: Subject, ids: Sequence[str], now: float, at: float
    ) -> None:
        self.side, self.at = subject.side, at
        self._connection, self._columns, self._ids, self._now = connection, subject.columns, list(ids), now
        self._spent: dict[frozenset[str], dict[str, list[Row]]] = {}

    @cached_property
    def held(self) -> dict[str, list[Row]]:
        """Give what calls under way hold, by the hour in which they were reserved."""
        found: dict[str, list[Row]] = {id_: [] for id_ in self._ids}
        for column in self._columns:
            rows = self._by_subject(
                f"SELECT {column} AS subject, hour, SUM(requests) AS requests, SUM(tokens) AS tokens, "  # noqa: S608 - our own names
                f"SUM(nano_usd) AS nano_usd, SUM(running) AS running FROM holds WHERE {column} IN :subjects "
                f"AND settled_at = 0 AND expires_at > :now GROUP BY {column}, hour",
                now=floor(self._now),
            )
            for id_ in self._ids:
                found[id_] += rows[id_]
        return found

    def spent_by_hours(self, id_: str, names: Iterable[str], calendar: Calendar) -> dict[str, Row]:
        """Give what is settled of periods of another calendar, of which the ledger has the hours alone."""
        found = {}
        for name in names:
            (found[name],) = self._connection.rows(
                "SELECT SUM(requests) AS requests, SUM(tokens) AS tokens, SUM(nano_usd) AS nano_usd "
                "FROM spend WHERE subject = :id AND period = 'hour' "
                "AND starts_at >= :start AND starts_at < :end",
                id=id_,
                start=calendar.start(name, self.at),
                end=calendar.end(name, self.at),
            )
        return found

    def spent(self, names: frozenset[str]) -> dict[str, list[Row]]:
        """Give what is settled of the periods `names`."""
        if names not in self._spent:
            starts = {name: USUAL.start(name, self.at) for name in names}
            rows = self._by_subject(
                "SELECT subject, period, starts_at, requests, tokens, nano_usd FROM spend "
                "WHERE subject IN :subjects AND period IN :periods AND starts_at IN :starts",
                periods=sorted(starts),
                starts=sorted(set(starts.values())),
            )
            self._spent[names] = {
                subject: [row for row in found if row["starts_at"] == starts[row["period"]]]
                for subject, found in rows.items()
            }
        return self._spent[names]

    @cached_property
    def rates(self) -> dict[str, list[Row]]:
        """Give what was taken in each second.

        Of the first of these 61 seconds only a part is within the last 60.

        Later ones than now are of clocks ahead.
        """
        return self._by_subject(
            "SELECT subject, second, requests, tokens FROM rates "
            "WHERE subject IN :subjects AND second >= :since",
            since=floor(self._now) - RATE_SECONDS,
        )

    @cached_property
    def topups(self) -> dict[str, list[Row]]:
        """Give what was added to budgets."""
        return self._by_subject(
            "SELECT subject, unit, period, amount, at FROM topups WHERE subject IN :subjects"
        )

    def _by_subject(self, sql: str, **values: Any) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {id_: [] for id_ in self._ids}
        for row in self._connection.rows(sql, subjects=self._ids, **values) if found else ():
            found[row["subject"]].append(row)
        return found


class _Use:
    """Says what is used of one subject of a page. `names`: the periods whose spending is read at once."""

    def __init__(self, page: _Page, id_: str, calendar: Calendar, names: Iterable[str] = ()) -> None:
        self.side, self.at, self.calendar = page.side, page.at, calendar
        self.name = own_name_in(id_)
        self._page, self._id, self._names = page, id_, frozenset(names)

    @property
    def rates(self) -> list[Row]:
        return self._page.rates[self._id]

    @property
    def topups(self) -> list[Row]:
        return self._page.topups[self._id]

    def spent(self, names: Iterable[str]) -> dict[str, Row]:
        """Give what is settled of the periods `names`."""
        wanted = frozenset(names)
        own = frozenset() if self.calendar.is_usual else wanted - {TOTAL}
        rows = self._page.spent(self._names or wanted)[self._id]
        usual = {row["period"]: row for row in rows if row["period"] not in own}
        return {**usual, **self._page.spent_by_hours(self._id, sorted(own), self.calendar)}

    def held(self, amount: Amount, first: int = 0, end: int = LARGEST) -> int:
        """Give what the calls under way hold that were reserved in these hours."""
        rows = self._page.held[self._id]
        return sum(int(row[amount]) for row in rows if first <= row["hour"] < end)


def _in_all(use: _Use, limit: Limit, allowed: int) -> Iterator[Gauge]:
    assert limit.counts is not None
    spent = use.spent([TOTAL])
    used = spent[TOTAL][limit.counts] if TOTAL in spent else 0
    yield Gauge(limit.name, use.side, limit.counts, allowed, used, use.held(limit.counts), name=use.name)


def _running(use: _Use, limit: Limit, allowed: int) -> Iterator[Gauge]:
    assert limit.counts is not None
    yield Gauge(limit.name, use.side, limit.counts, allowed, held=use.held(limit.counts), name=use.name)


def _rate(use: _Use, limit: Limit, allowed: int) -> Iterator[Gauge]:
    assert limit.counts is not None
    by_second = {row["second"]: row[limit.counts] for row in use.rates}
    taken = sum(by_second.values())
    yield Gauge(limit.name, use.side, limit.counts, allowed, taken, by_second=by_second, name=use.name)


def _budgets(use: _Use, _limit: Limit, budgets: Sequence[Budget]) -> Iterator[Gauge]:
    spent = use.spent({budget.period for budget in budgets})
    for budget in budgets:
        start, end = use.calendar.start(budget.period, use.at), use.calendar.end(budget.period, use.at)
        takes: Amount = "nano_usd" if budget.unit == USD else "tokens"
        added = sum(
            row["amount"]
            for row in use.topups
            if (row["unit"], row["period"]) == (budget.unit, budget.period)
            and start <= row["at"] < (end or LARGEST)
        )
        used = int(spent[budget.period][takes] or 0) if budget.period in spent else 0
        reserved = use.held(takes, start // HOUR, (end or LARGEST) // HOUR)
        allowed = budget.amount + added
        yield Gauge(
            *(budget.name, use.side, takes, allowed, used, reserved, end), starts_at=start, name=use.name
        )


READERS: dict[Window, Callable[[_Use, Limit, Any], Iterator[Gauge]]] = {
    Window.TOTAL: _in_all,
    Window.RUNNING: _running,
    Window.MINUTE: _rate,
    Window.PERIODS: _budgets,
}
"""It is what is used of a limit, by the window over which it is counted."""
