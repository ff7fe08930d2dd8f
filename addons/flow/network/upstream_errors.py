"""Answer a client whose upstream gave no answer: OpenAI's error object, and no address of anyone's."""

from __future__ import annotations

import re

from addons.flow.errors import Refusal


def _failure(status: int, code: str, message: str, retry_after: int | None = 1) -> Refusal:
    return Refusal(status, code, message, type="server_error", retry_after=retry_after)


UNANSWERED = _failure(
    504,
    "upstream_timeout",
    # No retry: what upstream is still at work on would be paid for twice.
    "The API did not begin to answer in time (option llm_answer_timeout).",
    retry_after=None,
)
CLOSED = _failure(502, "upstream_closed", "The API closed the connection without an answer.")
BY_MESSAGE: tuple[tuple[re.Pattern[str], Refusal], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), failure)
    for pattern, failure in (
        (
            r"too many open files|errno 24\b",
            _failure(503, "proxy_overloaded", "The proxy cannot open more connections at present.", 5),
        ),
        (
            r"errno -\d|not known|getaddrinfo|look.?up|resolv",
            _failure(503, "upstream_unresolved", "The proxy could not look up the API's host name.", 5),
        ),
        (
            r"^connection killed: ",
            _failure(
                502,
                "upstream_not_allowed",
                "The proxy may not connect to where the API is; its log says why.",
                None,
            ),
        ),
        (
            r"certificate|\btls\b|\bssl\b|handshake",
            _failure(
                502, "upstream_tls_error", "The proxy could not make a secure connection to the API.", None
            ),
        ),
        (
            r"timed out|timeout|errno 110\b|connection cancelled",
            _failure(504, "upstream_timeout", "The API could not be connected to in time."),
        ),
        (
            r"connect call failed|multiple exceptions|refused|unreachable|no route|errno 1(01|11|13)\b",
            _failure(502, "upstream_unreachable", "The API could not be reached."),
        ),
    )
)
"""By what mitmproxy says went wrong, the first that fits; anything else is a connection that was closed."""


def failure_of(message: str, *, unanswered: bool = False) -> Refusal:
    """Give the refusal that tells a client of an upstream failure, which mitmproxy calls `message`."""
    if unanswered:
        return UNANSWERED
    return next((failure for pattern, failure in BY_MESSAGE if pattern.search(message)), CLOSED)
