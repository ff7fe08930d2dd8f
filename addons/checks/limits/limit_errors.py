"""Word the refusals of limits: the limit's owner, its value, its use, and when it ends.

Rates pass by themselves, so clients are told when to try again, in the headers that the API uses for its own
rates; the official SDKs wait and do. A budget that is used up is no matter of waiting: they are told not to.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from addons.flow.errors import Refusal
from store.ledger import LimitExceeded, RateStatus, RateWindow, ReservationDecision
from store.tokens.amounts import number_text
from store.tokens.limits import Window, limit_named
from store.tokens.subjects import SESSION, name_in, own_name_in, subject_of

RATE_LIMIT, QUOTA = "rate_limit_exceeded", "insufficient_quota"


def why_not(answer: ReservationDecision) -> Refusal | None:
    """Refuse a call whose reservation was not granted; None where it was."""
    if answer.hit is None:
        return None
    return _rate(answer.hit, answer.standing) if answer.hit.is_rate else ended(answer.hit)


def ended(hit: LimitExceeded) -> Refusal:
    """Refuse a call whose budget, or number of requests, is used up."""
    remedy = _of_session(hit) if hit.side == SESSION.side else _reset(hit)
    return Refusal(429, QUOTA, f"{_limit(hit)}. {remedy}", type=QUOTA)


def unpriced(why: str) -> Refusal:
    """Refuse a call under a strict budget in dollars that cannot be priced."""
    return Refusal(
        403,
        "price_unknown",
        f"The budget of this proxy token is strict, and the call has no known price: {why}. "
        "Whoever runs the proxy can state one (option llm_prices).",
    )


def unbounded(why: str) -> Refusal:
    """Refuse a call under a strict limit whose use has no bound."""
    return Refusal(
        400,
        "use_unbounded",
        f"The limits of this proxy token are strict, and the call may use any amount of them: {why}.",
        param="max_tool_calls" if "max_tool_calls" in why else None,
    )


def rate_headers(standing: RateStatus, prefix: str = "x-ratelimit") -> tuple[tuple[str, str], ...]:
    """State the proxy's own rates as the API states its own; in answers of the API under another prefix."""
    rooms = (("requests", standing.requests), ("tokens", standing.tokens))
    return tuple(
        header for name, room in rooms if room is not None for header in _headers(prefix, name, room)
    )


def _headers(prefix: str, name: str, room: RateWindow) -> list[tuple[str, str]]:
    return [
        (f"{prefix}-limit-{name}", str(room.limit)),
        (f"{prefix}-remaining-{name}", str(room.remaining)),
        (f"{prefix}-reset-{name}", f"{math.ceil(room.resets_in * 1000)}ms"),
    ]


def _rate(hit: LimitExceeded, standing: RateStatus) -> Refusal:
    limit = limit_named(hit.limit)
    if hit.retry_after is None:
        wait = f"This call may use {hit.asked}, which is never allowed."
    else:
        wait = f"Try again in {hit.retry_after:.1f} s."
    return Refusal(
        429,
        RATE_LIMIT,
        f"{_whose(hit)} limit of {hit.allowed} {limit.words} is reached: {hit.used} are used. {wait}",
        type="tokens" if limit.counts == "tokens" else "requests",  # the API knows these two
        retry_after=None if hit.retry_after is None else max(1, math.ceil(hit.retry_after)),
        headers=rate_headers(standing),
    )


def _limit(hit: LimitExceeded) -> str:
    limit = limit_named(hit.limit)
    if limit.window is Window.TOTAL:
        return f"{_whose(hit)} {hit.allowed} {limit.words} are used up"
    period = hit.limit.partition("/")[2]
    per = "in all" if period == "total" else f"per {period}"
    allowed, used, asked = (_amount(hit, number) for number in (hit.allowed, hit.used, hit.asked))
    return (
        f"{_whose(hit)} budget of {allowed} {per} does not allow this call: {used} are used, or held by "
        f"calls under way, and it may need {asked}"
    )


def _of_session(hit: LimitExceeded) -> str:
    """Say what a person can do, in words that an agent shows its user."""
    return (
        "The agent is stopped here so that a person can decide. To let it go on, ask whoever runs the proxy "
        f"for `llmproxy session topup {name_in(hit.subject)} 5usd` (any amount), then continue; or begin a "
        "new session. Trying again without that does not help."
    )


def _whose(hit: LimitExceeded) -> str:
    return subject_of(hit.side).whose.format(name=own_name_in(hit.subject))


def _amount(hit: LimitExceeded, number: int) -> str:
    return f"{number_text(hit.unit, number)} {'USD' if hit.unit == 'usd' else hit.unit}"


def _reset(hit: LimitExceeded) -> str:
    if hit.resets_at is None:
        return "It does not reset by itself."
    return f"It resets at {datetime.fromtimestamp(hit.resets_at, UTC):%Y-%m-%dT%H:%M:%SZ}."
