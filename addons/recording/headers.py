"""Read the headers of a call: who called, with what, and how near its rate limits the account is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from store.core.event import Client

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


def client_info(address: str | None, headers: Headers) -> Client:
    """Give address, user agent and SDK (``python/1.99.7``) of the caller; null where unknown."""
    values = {name.lower(): value for name, value in headers}
    sdk = values.get("x-stainless-lang")
    if sdk and (release := values.get("x-stainless-package-version")):
        sdk = f"{sdk}/{release}"
    return Client(address, values.get("user-agent"), sdk)


def retry_number(headers: Headers) -> int | None:
    """Say which repetition of a call the SDK says that this is; None where it does not say.

    >>> retry_number([("X-Stainless-Retry-Count", "2")])
    2
    """
    text = next((value.strip() for name, value in headers if name.lower() == "x-stainless-retry-count"), "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else None


TRACE_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.{0,64})?"
)
"""W3C Trace Context, section 3.2; versions to come may have more behind."""


def trace_parent(headers: Headers) -> str | None:
    """Return the client's ``traceparent``; None where there is none that is right, or several.

    >>> trace_parent([("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")])
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    """
    found = [value.strip() for name, value in headers if name.lower() == "traceparent"]
    return found[0] if len(found) == 1 and TRACE_PARENT.fullmatch(found[0]) else None


def rate_limit(headers: Headers) -> dict[str, float | int]:
    """Give the ``x-ratelimit-*`` headers as numbers: counts as they are, resets in seconds.

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
    """Give the seconds of a duration in Go's notation (``1h2m3.5s``, ``20ms``); None for anything else."""
    parts = DURATION.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return round(sum(float(number) * SECONDS[unit] for number, unit in parts), 3)
