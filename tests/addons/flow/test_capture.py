from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.flow import capture
from addons.flow.capture import Capture
from tests.codings import CODINGS

LIMIT = 4096


def feed(body: bytes, coding: str, limit: int, step: int = 1000) -> capture.Body:
    tapped = Capture(coding, limit)
    for start in range(0, len(body), step):
        piece = body[start : start + step]
        assert tapped.tap(piece) == piece
    assert tapped.tap(b"") == b""
    kept = tapped.body()
    kept.settle()
    return kept


@given(body=st.binary(max_size=LIMIT), step=st.integers(1, 500))
def test_short_body_is_kept_as_it_came(body: bytes, step: int) -> None:
    kept = feed(body, "gzip", LIMIT, step)
    assert (kept.data, kept.decoded, kept.skipped, kept.tail) == (body, False, 0, b"")
    assert b"".join(kept.chunks) == body
    assert len(kept.chunks) == len(kept.times)
    assert kept.size == len(body)


@pytest.mark.parametrize("coding", CODINGS)
def test_long_body_keeps_its_decoded_ends(coding: str) -> None:
    header, encode = CODINGS[coding]
    plain = random.Random(3).randbytes(50_000)
    kept = feed(encode(plain), header, LIMIT)
    assert kept.decoded
    assert kept.data == plain[: LIMIT // 2]
    assert kept.tail == plain[-LIMIT // 2 :]
    assert len(kept.data) + kept.skipped + len(kept.tail) == len(plain)


def test_body_that_is_long_only_on_the_wire() -> None:
    """Nothing is skipped when both halves together hold the decoded body."""
    plain = random.Random(4).randbytes(LIMIT)
    kept = feed(plain + b"", "", LIMIT - 1)
    assert kept.data[:100] == plain[:100]
    assert kept.skipped <= 2


def test_expansion_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "DECODE_BUDGET", 2**20)
    _, encode = CODINGS["gzip"]
    kept = feed(encode(bytes(50 * 2**20)), "gzip", LIMIT)
    assert len(kept.data) + kept.skipped + len(kept.tail) <= 2 * 2**20


def test_copy_that_breaks_leaves_the_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(capture.Window, "feed", broken)
    tapped = Capture("", 10)
    assert tapped.tap(b"x" * 100) == b"x" * 100
    assert tapped.tap(b"y") == b"y"


def test_a_copy_that_breaks_leaves_the_stream_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []
    tapped = Capture("", LIMIT, [seen.append])
    assert tapped.tap(b"first") == b"first"
    monkeypatch.setattr(tapped, "_keep", lambda _: 1 / 0)
    assert tapped.tap(b"second") == b"second"
    assert tapped.tap(b"third") == b"third"
    assert seen == [b"first", b"second", b"third"]
    assert tapped.body().data == b"first"
    assert caplog.text.count("the client's stream goes on") == 1, "it is said once"


def test_a_watcher_that_raises_is_not_called_again(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[bytes] = []
    seen: list[bytes] = []

    def broken(data: bytes) -> None:
        calls.append(data)
        raise ValueError("not understood")

    tapped = Capture("", LIMIT, [broken, seen.append])
    for piece in (b"first", b"second"):
        assert tapped.tap(piece) == piece
    assert calls == [b"first"]
    assert seen == [b"first", b"second"]
    assert tapped.body().data == b"firstsecond"
    assert "not watched any more" in caplog.text


def test_a_body_that_comes_faster_than_it_is_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST_WAITING", 10_000)
    monkeypatch.setattr(Capture, "_feed", lambda *_: None)  # whoever reads it takes no piece off the pile
    tapped = Capture("", LIMIT)
    for _ in range(20):
        tapped.tap(bytes(1000))
    kept = tapped.body()
    kept.settle()
    assert kept.size == 20_000
    assert kept.undecoded == "it came faster than it could be read"


@pytest.mark.parametrize(
    ("size", "end"), [(0, b"six"), (3, b"six"), (4, b"five six"), (99, b"four five six")]
)
def test_the_end_of_what_came(size: int, end: bytes) -> None:
    tapped = Capture("", LIMIT)
    for piece in (b"four ", b"five ", b"six"):
        tapped.tap(piece)
    assert tapped.end(size) == end


def test_a_coded_or_an_over_long_body_has_no_end_to_look_at() -> None:
    coded, long = Capture("gzip", LIMIT), Capture("", 10)
    coded.tap(b"\x1f\x8b")
    long.tap(bytes(11))
    assert coded.end(5) == long.end(5) == b""
