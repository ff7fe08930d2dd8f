"""What clients are told where a limit stands against their call."""

from __future__ import annotations

from pathlib import Path

import pytest

from addons.checks.limits import limit_errors
from addons.flow.errors import Refusal
from store.ledger import LimitExceeded, RateStatus, RateWindow, ReservationDecision
from store.tokens.subjects import LABEL, SESSION, label_id, session_id
from tests.docs_commands import blocks
from tests.screens.pages import matches

DOCS = Path(__file__).parents[4] / "docs"


def told(hit: LimitExceeded, standing: RateStatus | None = None) -> Refusal:
    found = limit_errors.why_not(ReservationDecision(hit, standing or RateStatus()))
    assert found is not None
    return found


def test_nothing_where_nothing_stands_against_it() -> None:
    assert limit_errors.why_not(ReservationDecision()) is None


@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (
            LimitExceeded("requests_per_minute", "token", 60, 60, 1, retry_after=2.4),
            "The proxy token's limit of 60 requests per minute is reached: 60 are used. Try again in 2.4 s.",
        ),
        (
            LimitExceeded("tokens_per_minute", "project", 1000, 0, 5000),
            "The project's limit of 1000 tokens per minute is reached: 0 are used. "
            "This call may use 5000, which is never allowed.",
        ),
        (
            LimitExceeded(
                "usd/day", "project", 5 * 10**9, 4_980_000_000, 40_000_000, resets_at=1_767_225_600
            ),
            "The project's budget of 5 USD per day does not allow this call: 4.98 USD are used, or held by "
            "calls under way, and it may need 0.04 USD. It resets at 2026-01-01T00:00:00Z.",
        ),
        (
            LimitExceeded("tokens/total", "token", 100, 90, 20),
            "The proxy token's budget of 100 tokens in all does not allow this call: 90 tokens are used, or "
            "held by calls under way, and it may need 20 tokens. It does not reset by itself.",
        ),
        (
            LimitExceeded("max_requests", "token", 7, 7, 1),
            "The proxy token's 7 requests are used up. It does not reset by itself.",
        ),
    ],
)
def test_words(hit: LimitExceeded, message: str) -> None:
    assert told(hit).message == message


def test_a_rate_says_when_to_try_again() -> None:
    standing = RateStatus(requests=RateWindow(60, 0, 2.4), tokens=RateWindow(1000, 400, 60))
    response = told(
        LimitExceeded("requests_per_minute", "token", 60, 60, 1, retry_after=2.4), standing
    ).response()
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert response.headers["x-should-retry"] == "true"
    assert {name: value for name, value in response.headers.items() if name.startswith("x-ratelimit")} == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2400ms",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "400",
        "x-ratelimit-reset-tokens": "60000ms",
    }


@pytest.mark.parametrize(
    "hit",
    [
        LimitExceeded("usd/day", "token", 1, 1, 1),
        LimitExceeded("max_requests", "token", 1, 1, 1),
        LimitExceeded("tokens_per_minute", "token", 5, 0, 6),
    ],
)
def test_what_waiting_does_not_heal_is_not_worth_another_try(hit: LimitExceeded) -> None:
    response = told(hit).response()
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("page", "hit"),
    [
        (
            "limits.md",
            LimitExceeded(
                "usd/day",
                LABEL.side,
                10**9,
                980_000_000,
                40_000_000,
                resets_at=1_767_225_600,
                subject=label_id("01a2-token", "customer", "c-17"),
            ),
        ),
        (
            "sessions.md",
            LimitExceeded(
                "usd/total",
                SESSION.side,
                5 * 10**9,
                4_980_000_000,
                60_000_000,
                subject=session_id("01a2-token", "0198-session"),
            ),
        ),
    ],
)
def test_a_page_shows_what_a_client_is_told(page: str, hit: LimitExceeded) -> None:
    (shown,) = (block.text for block in blocks(DOCS / page) if block.text.startswith("429 "))
    refusal = told(hit)
    assert matches([" ".join(shown.split())], [f"{refusal.status} {refusal.code}: {refusal.shown}"])
