"""Settle calls that are over: holds end, and what the calls did use is added to what was spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Any

from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.ledger import assumed, sessions
from store.ledger.account import RATE_SECONDS
from store.ledger.assumed import Assumed
from store.ledger.messages import Finished
from store.tokens.calendar import HOUR, TOTAL, USUAL
from store.tokens.subjects import CLAIMED, claimed_in, ids_of_row, subjects_of
from store.usage.recent_calls import RecentCalls
from store.usage.rollups import RollUps, last_rolled, move_rolled

KEEP_SETTLED_SECONDS = 3600
"""It says how long a settled hold is kept, so that its call is not settled again."""
KEEP_QUEUED_SECONDS = 86400
"""It says how much longer it is kept of a call that began something which ends later: what it was charged
with is then taken off what that did use."""
ENDED_BY_PROXY = ("budget_ended", "shutdown", "proxy_died")
"""Outcomes of calls whose usage the proxy itself kept from coming: no client gains by bringing that about."""
KEEP_LAPSED_SECONDS = 86400
"""It says how long the hold of a process that died is kept, though it holds nothing any more: it says what
the call is charged with, should its event turn up in the spool."""


def settle(
    connection: Connection,
    now: float,
    *,
    calls: Sequence[Finished],
    writer: str,
    rollups: RollUps,
    recent: RecentCalls,
) -> None:
    """Count calls of one writer, each only once."""
    calls = _not_counted(connection, calls, writer)
    if not calls:
        return
    begun = [call.corrects for call in calls if call.corrects]
    holds = _holds(connection, [*(call.call_id for call in calls), *begun])
    fresh = [
        _Charge.of(call, holds.get(call.call_id), now, holds.get(call.corrects or ""))
        for call in {call.call_id: call for call in calls}.values()
        if call.call_id not in holds or not holds[call.call_id]["settled_at"]
    ]
    void = [charge for charge in fresh if charge.is_void]
    charges = [charge for charge in fresh if not charge.is_void]
    _void(connection, [charge.hold for charge in void if charge.hold], now)
    _spend(connection, charges)
    assumed.note(connection, [found for charge in charges if (found := charge.as_assumed(now))])
    _correct_rates(
        connection,
        [(charge.hold, 0, charge.tokens - charge.hold["tokens"]) for charge in charges if charge.hold],
        now,
    )
    _count(connection, charges)
    _mark(connection, charges, now)
    rollups.add(connection, [charge.call.line for charge in fresh if charge.call.line])
    recent.add(connection, now, [charge.call.recent for charge in fresh if charge.call.recent])
    sessions.add(connection, [charge.call for charge in fresh])


def release(connection: Connection, now: float, *, call_ids: Sequence[str]) -> None:
    """Undo reservations: nothing went upstream. Those that are settled, or unknown, stay as they are."""
    _void(connection, [hold for hold in _holds(connection, call_ids).values() if not hold["settled_at"]], now)


def ended(connection: Connection, now: float, *, call_ids: Sequence[str]) -> None:  # noqa: ARG001 - as the others
    """Take these calls out of the concurrent ones."""
    connection.run("UPDATE holds SET running = 0 WHERE call_id IN :ids", ids=list(call_ids))


def clean_up(connection: Connection, now: float) -> None:
    """Remove what decides nothing any more."""
    second = floor(now)
    connection.run("DELETE FROM rates WHERE second < :before", before=second - 2 * RATE_SECONDS)
    connection.run(
        "DELETE FROM holds WHERE settled_at > 0 AND settled_at < :before",
        before=second - KEEP_SETTLED_SECONDS,
    )
    connection.run(
        "DELETE FROM holds WHERE settled_at = 0 AND expires_at < :before", before=second - KEEP_LAPSED_SECONDS
    )
    assumed.clean_up(connection, now)
    sessions.clean_up(connection, now)
    _forget_claimed(connection, second)


def _forget_claimed(connection: Connection, second: int) -> None:
    """Remove what users, addresses and labels used in periods that are over: clients can name any number."""
    for subject in CLAIMED:
        for period in subject.periods:
            if period != TOTAL:
                connection.run(
                    "DELETE FROM spend WHERE subject >= :first AND subject < :end AND period = :period "
                    "AND starts_at < :before",
                    first=f"{subject.side}:",
                    end=f"{subject.side};",
                    period=period,
                    # The hours are what the months of other time zones are summed up from.
                    before=USUAL.start("month" if period == "hour" else period, second - KEEP_LAPSED_SECONDS)
                    - KEEP_LAPSED_SECONDS,
                )
        if TOTAL not in subject.periods:
            connection.run(
                "DELETE FROM topups WHERE subject >= :first AND subject < :end AND at < :before",
                first=f"{subject.side}:",
                end=f"{subject.side};",
                before=USUAL.start("month", second - KEEP_LAPSED_SECONDS) - KEEP_LAPSED_SECONDS,
            )


@dataclass(frozen=True, slots=True)
class _Charge:
    """Holds a call and what it is charged with."""

    call: Finished
    hold: Row | None
    hour: int
    tokens: int
    nano_usd: int
    assumed: bool
    """It tells whether something was unknown, so that what was held counts instead."""
    claimed: Mapping[str, str]
    """Ids of what it counts for beside token and project, by their columns."""

    @classmethod
    def of(cls, call: Finished, hold: Row | None, now: float, begun: Row | None = None) -> _Charge:
        """Make the charge of a call.

        `begun`: the hold of the call that began what `call` tells the end of.
        """
        known = None not in (call.total_tokens, call.nano_usd) and not call.at_least
        tokens, nano_usd = _charged(call, hold)
        if begun is not None and begun is not hold:  # it was charged with the most that it can use
            tokens -= max(begun["tokens"], begun["most_tokens"])
            nano_usd -= max(begun["nano_usd"], begun["most_nano_usd"])
        # Not an hour to come, be the clock of who made the event as it may: it would be in no period.
        hour = hold["hour"] if hold else floor(min(call.at, now)) // HOUR
        # What another's call tells the end of counts for who began it.
        said = begun if begun is not None else hold
        own = said is not None and said["token_id"] == call.token_id
        claimed = claimed_in(said) if said is not None and own else {}
        return cls(call, hold, hour, tokens, nano_usd, not known, claimed)

    def as_assumed(self, now: float) -> Assumed | None:
        """Give what to remember of a charge that may be put right.

        What comes with a later call rights itself.
        """
        call = self.call
        if not self.assumed or self.hold is None or call.corrects or call.outcome == "queued":
            return None
        hour, _, _, user_id, model, endpoint = call.line.key if call.line else (self.hour, "", "", "", "", "")
        return Assumed(
            *(call.call_id, call.token_id, call.project_id, call.outcome),
            hour=self.hour,
            at=floor(now),
            tokens=self.tokens,
            nano_usd=self.nano_usd,
            known_tokens=call.total_tokens or 0,
            known_nano_usd=call.nano_usd or 0,
            used_hour=hour,
            user_id=user_id,
            model=model,
            endpoint=endpoint,
            **self.claimed,
        )

    @property
    def is_void(self) -> bool:
        """Tell whether nothing went upstream."""
        return self.call.outcome == "refused" or self.call.never_sent

    @property
    def requests(self) -> int:
        return int(self.call.request)


def _charged(call: Finished, hold: Row | None) -> tuple[int, int]:
    """Give the tokens and nano-USD that a call is charged with; see docs/limits.md.

    Where its figures are not all, what was held may be nearer to the truth. Where its usage did not come, it
    is the most that it can have used: else who leaves before it, every time, would pay less than is billed.
    """
    tokens, nano_usd = call.total_tokens, call.nano_usd
    if hold is None:
        return tokens or 0, nano_usd or 0
    most_tokens = most_nano_usd = 0
    if call.outcome not in ENDED_BY_PROXY:
        most_tokens, most_nano_usd = hold["most_tokens"], hold["most_nano_usd"]
    if tokens is None or call.incomplete:
        tokens = max(tokens or 0, hold["tokens"], most_tokens)
    elif call.at_least:
        tokens = max(tokens, hold["tokens"])
    if nano_usd is None or call.incomplete:
        nano_usd = max(nano_usd or 0, hold["nano_usd"], most_nano_usd)
    elif call.at_least:
        nano_usd = max(nano_usd, hold["nano_usd"])
    return tokens, nano_usd


def _not_counted(connection: Connection, calls: Sequence[Finished], writer: str) -> list[Finished]:
    """Give those beyond the last one of this writer that was counted, which is moved on."""
    last = max((call.seq for call in calls), default=0)
    if not last:
        return list(calls)
    before = last_rolled(connection, writer)
    if last > before:
        move_rolled(connection, writer, last)
    return [call for call in calls if not call.seq or call.seq > before]


def _holds(connection: Connection, call_ids: Sequence[str]) -> dict[str, Row]:
    rows = connection.rows("SELECT * FROM holds WHERE call_id IN :ids", ids=list(call_ids))
    return {row["call_id"]: row for row in rows}


def _void(connection: Connection, holds: Sequence[Row], now: float) -> None:
    """Remove holds, and give back what they took of rates and quotas."""
    if not holds:
        return
    connection.run("DELETE FROM holds WHERE call_id IN :ids", ids=[hold["call_id"] for hold in holds])
    _correct_rates(connection, [(hold, -hold["requests"], -hold["tokens"]) for hold in holds], now)
    counted: Counter[str] = Counter()
    for hold in holds:
        counted[hold["token_id"]] += hold["counted"]
    for token_id, requests in counted.items():
        if requests:
            connection.run(
                "UPDATE tokens SET request_count = request_count - :requests WHERE id = :id",
                requests=requests,
                id=token_id,
            )


def _correct_rates(connection: Connection, corrections: Iterable[tuple[Row, int, int]], now: float) -> None:
    """Put the true numbers into the seconds in which they were reserved, where those still count."""
    sums: dict[tuple[str, int], Counter[str]] = {}
    for hold, requests, tokens in corrections:
        if hold["taken_at"] >= floor(now) - RATE_SECONDS and (requests or tokens):
            for _, subject in subjects_of(ids_of_row(hold)):
                more = sums.setdefault((subject, hold["taken_at"]), Counter())
                more["requests"] += requests
                more["tokens"] += tokens
    for (subject, second), more in sums.items():
        # Without a row: it has no rate, or had none when the call was reserved.
        connection.run(
            "UPDATE rates SET requests = requests + :requests, tokens = tokens + :tokens "
            "WHERE subject = :subject AND second = :second",
            requests=more["requests"],
            tokens=more["tokens"],
            subject=subject,
            second=second,
        )


def _spend(connection: Connection, charges: Sequence[_Charge]) -> None:
    """Add to what was spent.

    Every period has a row of its own; so one that begins starts at nothing, and none is ever set back.
    """
    hours: dict[tuple[tuple[str, ...], str, int], list[int]] = {}
    for charge in charges:
        for kind, subject in subjects_of({**charge.call.ids, **charge.claimed}):
            more = hours.setdefault((kind.periods, subject, charge.hour), [0, 0, 0, 0])
            more[0] += charge.requests
            more[1] += charge.tokens
            more[2] += charge.nano_usd
            more[3] += charge.assumed
    sums: dict[tuple[str, str, int], list[int]] = {}
    for (names, subject, hour), of_hour in hours.items():
        for period in names:
            key = (subject, period, USUAL.start(period, hour * HOUR))
            sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0, 0, 0]), of_hour, strict=True)]
    columns = ("subject", "period", "starts_at", "requests", "tokens", "nano_usd", "assumed")
    # In one order, so that two processes never wait for each other in a circle.
    rows = [dict(zip(columns, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.add("spend", columns[:3], rows)


def _count(connection: Connection, charges: Sequence[_Charge]) -> None:
    """Bring request counts and last use of the tokens up to date."""
    uses: dict[str, list[_Charge]] = {}
    for charge in charges:
        uses.setdefault(charge.call.asked_by or charge.call.token_id, []).append(charge)
    for token_id, made in uses.items():
        # With a quota a call was counted when it was reserved.
        requests = sum(charge.requests - (charge.hold["counted"] if charge.hold else 0) for charge in made)
        hits = sum(charge.call.cache_hits for charge in made)
        latest = max(made, key=lambda charge: charge.call.at).call
        if requests or hits:
            connection.run(
                "UPDATE tokens SET request_count = request_count + :requests, "
                "cache_hit_count = cache_hit_count + :hits WHERE id = :id",
                requests=requests,
                hits=hits,
                id=token_id,
            )
        connection.run(
            "UPDATE tokens SET last_used_at = :at, last_used_from = coalesce(:address, last_used_from) "
            "WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :at)",
            at=rfc3339(datetime.fromtimestamp(latest.at, UTC)),
            address=latest.address,
            id=token_id,
        )


def _mark(connection: Connection, charges: Sequence[_Charge], now: float) -> None:
    """Remember which calls are settled, where their number does not say so."""
    held = [charge.call.call_id for charge in charges if charge.hold]
    if held:
        connection.run("UPDATE holds SET settled_at = :now WHERE call_id IN :ids", now=floor(now), ids=held)
    queued = [charge.call.call_id for charge in charges if charge.hold and charge.call.outcome == "queued"]
    if queued:
        later = floor(now) + KEEP_QUEUED_SECONDS
        connection.run("UPDATE holds SET settled_at = :later WHERE call_id IN :ids", later=later, ids=queued)
    unnumbered = [charge for charge in charges if not charge.hold and not charge.call.seq]
    connection.insert("holds", [_marker(charge, floor(now)) for charge in unnumbered])


def _marker(charge: _Charge, second: int) -> Mapping[str, Any]:
    call = charge.call
    numbers = ("requests", "tokens", "nano_usd", "most_tokens", "most_nano_usd", "counted", "running")
    return {
        "call_id": call.call_id,
        **call.ids,
        "process": "",
        "taken_at": second,
        "hour": charge.hour,
        **dict.fromkeys(numbers, 0),
        "expires_at": second,
        "settled_at": second,
    }
