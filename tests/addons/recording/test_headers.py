from __future__ import annotations

import pytest

from addons.recording.headers import (
    RECORDED_REQUEST_HEADERS,
    client_info,
    duration_seconds,
    rate_limit,
    retry_number,
    trace_parent,
)
from store.core.event import Client


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("8.64s", 8.64),
        ("1d", None),
        ("", None),
        ("5", None),
        ("s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_seconds(text) == seconds


def test_rate_limits_as_numbers() -> None:
    headers = [
        ("X-RateLimit-Limit-Requests", "5000"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-requests", "12ms"),
        ("x-ratelimit-limit-project-tokens", "1"),
        ("x-ratelimit-remaining-requests", "many"),
        ("retry-after", "7"),
    ]
    assert rate_limit(headers) == {
        "limit_requests": 5000,
        "remaining_tokens": 149984,
        "reset_requests_seconds": 0.012,
        "limit_project_tokens": 1,
    }


def test_client() -> None:
    headers = [
        ("User-Agent", "OpenAI/Python 2.0.0"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.0.0"),
    ]
    assert client_info("10.0.0.9", headers) == Client("10.0.0.9", "OpenAI/Python 2.0.0", "python/2.0.0")
    assert client_info(None, []) == Client()


def test_no_credential_is_ever_recorded() -> None:
    assert RECORDED_REQUEST_HEADERS.isdisjoint(
        {"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization", "openai-organization"}
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("2", 2), (" 1 ", 1), ("", None), ("-1", None), ("many", None), ("9" * 50, None)],
)
def test_retries_are_told_from_calls(text: str, number: int | None) -> None:
    assert retry_number([("X-Stainless-Retry-Count", text)]) == number


GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        GOOD[:-1],
        GOOD.replace("00-4", "ff-4"),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        GOOD + "\n",
        GOOD.replace("-", "_"),
    ],
)
def test_a_trace_parent_that_is_none(text: str) -> None:
    assert trace_parent([("traceparent", text)]) == (GOOD if text.strip() == GOOD else None)
    assert trace_parent([("traceparent", GOOD), ("Traceparent", GOOD)]) is None
