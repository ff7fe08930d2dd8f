"""What a client is told where a limit stands against its call: whose limit, its value, its use, its end.

Rates pass by themselves, so clients are told when to try again, in the headers that the API uses for its own
rates; the official SDKs wait and do. A budget that is used up is no matter of waiting: they are told not to.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from addons.refusal import Refusal
from store.ledger import Answer, Hit, Room, Standing
from store.limits import number_text

RATE_LIMIT, QUOTA = "rate_limit_exceeded", "insufficient_quota"
RATES = {
    "requests_per_minute": ("requests", "requests per minute"),
    "tokens_per_minute": ("tokens", "tokens per minute"),
    "max_concurrent": ("requests", "calls at the same time"),
}
"""The `type` of the error, as the API has it, and words."""


def why_not(answer: Answer) -> Refusal | None:
    """The refusal for a claim that was not granted."""
    if answer.hit is None:
        return None
    return _rate(answer.hit, answer.standing) if answer.hit.is_rate else ended(answer.hit)


def ended(hit: Hit) -> Refusal:
    """Of a budget, or of a number of requests, that is used up."""
    return Refusal(429, QUOTA, f"{_limit(hit)}. {_reset(hit)}", type=QUOTA)


def unpriced(why: str) -> Refusal:
    """Of a call under a strict budget in dollars that cannot be priced."""
    return Refusal(
        403,
        "price_unknown",
        f"The budget of this proxy token is strict, and the call has no known price: {why}. "
        "Whoever runs the proxy can state one (option llm_prices).",
    )


def unbounded(why: str) -> Refusal:
    """Of a call under a strict limit whose use has no bound."""
    return Refusal(
        400,
        "use_unbounded",
        f"The limits of this proxy token are strict, and the call may use any amount of them: {why}.",
        param="max_tool_calls" if "max_tool_calls" in why else None,
    )


def rate_headers(standing: Standing, prefix: str = "x-ratelimit") -> tuple[tuple[str, str], ...]:
    """The proxy's own rates, as the API states its own; in answers of the API under another prefix."""
    rooms = (("requests", standing.requests), ("tokens", standing.tokens))
    return tuple(
        header for name, room in rooms if room is not None for header in _headers(prefix, name, room)
    )


def _headers(prefix: str, name: str, room: Room) -> list[tuple[str, str]]:
    return [
        (f"{prefix}-limit-{name}", str(room.limit)),
        (f"{prefix}-remaining-{name}", str(room.remaining)),
        (f"{prefix}-reset-{name}", f"{math.ceil(room.resets_in * 1000)}ms"),
    ]


def _rate(hit: Hit, standing: Standing) -> Refusal:
    kind, words = RATES[hit.limit]
    if hit.retry_after is None:
        wait = f"This call may use {hit.asked}, which is never allowed."
    else:
        wait = f"Try again in {hit.retry_after:.1f} s."
    return Refusal(
        429,
        RATE_LIMIT,
        f"{_whose(hit)} limit of {hit.allowed} {words} is reached: {hit.used} are used. {wait}",
        type=kind,
        retry_after=None if hit.retry_after is None else max(1, math.ceil(hit.retry_after)),
        headers=rate_headers(standing),
    )


def _limit(hit: Hit) -> str:
    if hit.limit == "max_requests":
        return f"{_whose(hit)} {hit.allowed} requests are used up"
    period = hit.limit.partition("/")[2]
    per = "in all" if period == "total" else f"per {period}"
    allowed, used, asked = (_amount(hit, number) for number in (hit.allowed, hit.used, hit.asked))
    return (
        f"{_whose(hit)} budget of {allowed} {per} does not allow this call: {used} are used, or held by "
        f"calls under way, and it may need {asked}"
    )


def _whose(hit: Hit) -> str:
    return "The project's" if hit.side == "project" else "The proxy token's"


def _amount(hit: Hit, number: int) -> str:
    return f"{number_text(hit.unit, number)} {'USD' if hit.unit == 'usd' else hit.unit}"


def _reset(hit: Hit) -> str:
    if hit.resets_at is None:
        return "It does not reset by itself."
    return f"It resets at {datetime.fromtimestamp(hit.resets_at, UTC):%Y-%m-%dT%H:%M:%SZ}."
