"""An answer's body, for all who read it."""

from __future__ import annotations

import pytest
from mitmproxy import http

from addons.flow.answer_body import AnswerBody

STREAM = "text/event-stream; charset=utf-8"


def answer(content_type: str = "application/json", *codings: str) -> AnswerBody:
    fields = [(b"content-type", content_type.encode()), *((b"content-encoding", c.encode()) for c in codings)]
    response = http.Response(b"HTTP/1.1", 200, b"", http.Headers(fields), None, None, 0.0, 0.0)
    return AnswerBody(response)


def test_what_its_headers_say() -> None:
    assert answer(STREAM).is_stream
    assert not answer().is_stream
    assert list(answer("application/json", "gzip", "br").codings) == list(answer("x", "gzip, br").codings)


@pytest.mark.parametrize("watched", [True, False])
def test_watchers_see_what_passes(watched: bool) -> None:
    body, seen = answer(STREAM), []
    body.watchers.append(seen.append)
    assert body.kept() is None
    capture = body.keep(1000, watched=watched)
    capture.tap(b"data: {}\n\n")
    assert seen == ([b"data: {}\n\n"] if watched else [])
    kept = body.kept()
    assert kept is not None
    assert kept.data == b"data: {}\n\n"
    assert kept.parsed is body.parsed, "who reads it later has what was parsed on its way"


def test_a_body_that_was_held_back_is_kept_once() -> None:
    """The cache and the recorder both ask for it."""
    body = answer()
    body.take_whole(b"before anybody keeps a copy")
    body.keep(1000, watched=False)
    body.take_whole(b"")
    body.take_whole(b"{}")
    body.take_whole(b"{}")
    kept = body.kept()
    assert kept is not None
    assert (kept.data, kept.size) == (b"{}", 2)
