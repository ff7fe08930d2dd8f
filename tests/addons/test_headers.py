from __future__ import annotations

import pytest

from addons.headers import RECORDED_REQUEST_HEADERS, client_info, duration_seconds, rate_limit


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
    assert client_info("10.0.0.9", headers) == {
        "ip": "10.0.0.9",
        "user_agent": "OpenAI/Python 2.0.0",
        "sdk": "python/2.0.0",
    }
    assert client_info(None, []) == {"ip": None, "user_agent": None, "sdk": None}


def test_no_credential_is_ever_recorded() -> None:
    assert RECORDED_REQUEST_HEADERS.isdisjoint(
        {"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization", "openai-organization"}
    )
