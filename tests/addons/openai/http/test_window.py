"""The two ends of a body, however it comes and whatever it is coded in."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from addons.openai.http import window
from addons.openai.http.encoding import codings_of
from addons.openai.http.window import Window
from tests.codings import CODINGS


def ends(coded: bytes, header: str, limit: int, step: int) -> tuple[bytes, int, bytes]:
    kept = Window(codings_of(header), limit)
    for start in range(0, len(coded), step):
        kept.feed(coded[start : start + step])
    kept.finish()
    assert kept.error is None
    return kept.parts()


@example("raw deflate", 16, 1000, 1)  # begins with `[`, as JSON does
@given(st.sampled_from(sorted(CODINGS)), st.integers(0, 6000), st.integers(2, 3000), st.integers(1, 700))
def test_the_ends_are_the_ends(coding: str, length: int, limit: int, step: int) -> None:
    header, encode = CODINGS[coding]
    plain = random.Random(length).randbytes(length)
    head, skipped, tail = ends(encode(plain), header, limit, step)
    if skipped:
        half = limit // 2
        assert (head, tail) == (plain[:half], plain[length - half :])
        assert skipped == length - 2 * half
    else:
        assert (head, tail) == (plain, b"")


def test_one_call_does_not_do_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into one step waits for the next, and nothing is lost."""
    monkeypatch.setattr(window, "STEP", 2**20)
    header, encode = CODINGS["gzip"]
    plain = bytes(range(256)) * 2**16
    coded = encode(plain)
    kept = Window(codings_of(header), 4096)
    kept.feed(coded)
    head, skipped, _ = kept.parts()
    assert len(head) + skipped < 4 * 2**20
    kept.feed(b"")
    kept.finish()
    head, skipped, tail = kept.parts()
    assert (head, tail) == (plain[:2048], plain[-2048:])
    assert len(head) + skipped + len(tail) == len(plain)


def test_a_body_that_falls_behind_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "STEP", 2**10)
    monkeypatch.setattr(window, "LEAST_WAITING", 2**10)
    header, encode = CODINGS["gzip"]
    coded = encode(bytes(64 * 2**20))
    kept = Window(codings_of(header), 2**10)
    for start in range(0, len(coded), 1024):
        kept.feed(coded[start : start + 1024])
    kept.finish()
    assert kept.error == "the body expands faster than it can be decoded"
    head, skipped, tail = kept.parts()
    assert len(head) + skipped + len(tail) < 16 * 2**20


def test_a_body_that_is_given_up_keeps_what_came_before() -> None:
    window = Window((), 1000)
    window.feed(b"before ")
    window.give_up("it came faster than it could be read")
    window.feed(b"after")
    window.finish()
    assert window.error == "it came faster than it could be read"
    assert window.parts() == (b"before ", 0, b"")
