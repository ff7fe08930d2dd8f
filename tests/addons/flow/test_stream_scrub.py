"""Known secrets are taken out of answers as they stream, and nothing else waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mitmproxy import http

from addons.flow.stream_scrub import StreamScrub, tap
from store.core.secret import Secret
from tests.addons.checks.limits.test_reservation import call

KEY = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"say sk and s"}}]}\n\n'


@pytest.mark.parametrize("step", [1, 2, 7, 43, 44, 45, 1000])
def test_a_key_in_any_pieces(step: int) -> None:
    scrub = StreamScrub([KEY, "sk-llmp-token"])
    data = b"x" * 50 + KEY.encode() + b" sk-proj-0 " + b"sk-llmp-token" + b" sk-pro"
    passed = [scrub.feed(data[at : at + step]) for at in range(0, len(data), step)]
    whole = b"".join([*passed, scrub.finish()])
    assert whole == data.replace(KEY.encode(), b"[redacted]".ljust(len(KEY), b"*")).replace(
        b"sk-llmp-token", b"[redacted]***"
    )
    # What is held is never more than a secret could still begin with.
    sent = 0
    for number, piece in enumerate(passed, 1):
        sent += len(piece)
        assert min(number * step, len(data)) - sent < len(KEY)


def test_no_event_waits() -> None:
    scrub = StreamScrub([KEY])
    for _ in range(3):
        assert scrub.feed(EVENT) == EVENT
    assert scrub.feed(b"data: sk-pr") == b"data: "
    assert scrub.feed(b"oof\n\n") == b"sk-proof\n\n"


def tapped(pieces: Sequence[bytes], **headers: str) -> tuple[list[bytes], list[bytes]]:
    """What the inner tap got, and what the client gets, of an answer."""
    made, got = call(), list[bytes]()
    made.secrets.append(Secret(KEY))

    def inner(data: bytes) -> bytes:
        got.append(data)
        return data

    stream = tap(made, http.Response.make(200, b"", dict(headers)), inner)
    passed: list[bytes] = []
    for piece in [*pieces, b""]:
        said = stream(piece)
        given: list[Any] = [said] if isinstance(said, bytes) else list(said)
        assert not piece or b"" not in given, "an empty piece would end the client's stream"
        passed += given
    return got, passed


def test_neither_client_nor_recorder_sees_the_key() -> None:
    half = KEY.encode()[:20]
    got, passed = tapped([EVENT, b"data: " + half, KEY.encode()[20:] + b"\n\n", b"the end: sk-"])
    assert b"".join(got) == b"".join(passed)
    assert half not in b"".join(passed)
    assert passed[0] == EVENT
    assert b"".join(passed).endswith(b"the end: sk-")
    assert got[-1] == b"", "the end is told"


def test_a_coded_answer_is_left_alone() -> None:
    got, _ = tapped([KEY.encode()], **{"content-encoding": "br"})
    assert got[0] == KEY.encode()
