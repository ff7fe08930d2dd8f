"""What the headers of a call tell: who called, with what, and how near its rate limits the account is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# An allow-list: a header that is not named here is not recorded.
RECORDED_REQUEST_HEADERS = frozenset(
    {
        "accept",
        "content-length",
        "content-type",
        "openai-beta",
        "user-agent",
        "x-client-request-id",
        "x-stainless-arch",
        "x-stainless-async",
        "x-stainless-helper-method",
        "x-stainless-lang",
        "x-stainless-os",
        "x-stainless-package-version",
        "x-stainless-raw-response",
        "x-stainless-retry-count",
        "x-stainless-runtime",
        "x-stainless-runtime-version",
        "x-stainless-timeout",
    }
)

RATE_LIMIT = re.compile(r"x-ratelimit-(limit|remaining|reset)-([a-z0-9_-]+)", re.IGNORECASE)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Headers = Iterable[tuple[str, str]]


def client_info(address: str | None, headers: Headers) -> dict[str, Any]:
    """Address, user agent and SDK (``python/1.99.7``) of the caller; null where unknown."""
    values = {name.lower(): value for name, value in headers}
    sdk = values.get("x-stainless-lang")
    if sdk and (release := values.get("x-stainless-package-version")):
        sdk = f"{sdk}/{release}"
    return {"ip": address, "user_agent": values.get("user-agent"), "sdk": sdk}


def rate_limit(headers: Headers) -> dict[str, float | int]:
    """The ``x-ratelimit-*`` headers as numbers: counts as they are, resets in seconds.

    >>> rate_limit([("x-ratelimit-remaining-tokens", "149984"), ("x-ratelimit-reset-tokens", "6m0s")])
    {'remaining_tokens': 149984, 'reset_tokens_seconds': 360.0}
    """
    found: dict[str, float | int] = {}
    for name, value in headers:
        if not (match := RATE_LIMIT.fullmatch(name)):
            continue
        kind, dimension = match[1].lower(), match[2].lower().replace("-", "_")
        if kind == "reset":
            if (seconds := duration_seconds(value)) is not None:
                found[f"reset_{dimension}_seconds"] = seconds
        elif value.strip().isdecimal():
            found[f"{kind}_{dimension}"] = int(value)
    return found


def duration_seconds(text: str) -> float | None:
    """Seconds of a duration in Go's notation (``1h2m3.5s``, ``20ms``); None for anything else."""
    parts = DURATION.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return round(sum(float(number) * SECONDS[unit] for number, unit in parts), 3)
