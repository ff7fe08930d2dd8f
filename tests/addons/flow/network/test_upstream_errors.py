"""What mitmproxy calls a failure of upstream, and what the client is told."""

from __future__ import annotations

import pytest

from addons.flow.network.upstream_errors import failure_of


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("[Errno 111] Connect call failed ('127.0.0.1', 1)", 502, "upstream_unreachable"),
        (
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0)",
            502,
            "upstream_unreachable",
        ),
        ("[Errno 113] No route to host", 502, "upstream_unreachable"),
        ("[Errno 101] Network is unreachable", 502, "upstream_unreachable"),
        ("[Errno 110] Connection timed out", 504, "upstream_timeout"),
        ("[Errno 110] Connect call failed ('192.0.2.1', 443)", 504, "upstream_timeout"),
        ("connection cancelled", 504, "upstream_timeout"),
        ("[Errno -2] Name or service not known", 503, "upstream_unresolved"),
        ("[Errno -3] Temporary failure in name resolution", 503, "upstream_unresolved"),
        ("[Errno 24] Too many open files", 503, "proxy_overloaded"),
        ("Certificate verify failed: self-signed certificate", 502, "upstream_tls_error"),
        ("TLS handshake failed: connection closed", 502, "upstream_tls_error"),
        (
            "Connection killed: example.com leads to an address that is not public",
            502,
            "upstream_not_allowed",
        ),
        ("server closed connection", 502, "upstream_closed"),
        ("[Errno 104] Connection reset by peer", 502, "upstream_closed"),
        ("HTTP/1 protocol error: illegal chunk header", 502, "upstream_closed"),
    ],
)
def test_failures_by_what_mitmproxy_says(message: str, status: int, code: str) -> None:
    failure = failure_of(message)
    assert (failure.status, failure.code) == (status, code)
    assert not any(part in failure.message for part in ("127.", "192.", "::1", "example.com"))


def test_a_call_that_was_given_up_is_not_tried_again() -> None:
    answer = failure_of("no answer in time", unanswered=True).response()
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
