"""Read WebSocket sessions of recordings (Responses, Realtime): each answer becomes an exchange of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from addons.importing.exchange import Recorded
from addons.openai.endpoints import guess
from addons.openai.realtime.realtime import Frame, Turn, Turns, headers_of, url_of
from store.core.urls import split_url


def split(session: Recorded, frames: Iterable[Frame]) -> Iterator[Recorded]:
    """Give one exchange for each answer of `session`; the session itself where there was none."""
    count = 0
    for count, turn in enumerate(turns(session, frames), 1):
        yield _exchange(session, turn, count)
    if not count:
        yield session


def turns(session: Recorded, frames: Iterable[Frame]) -> Iterator[Turn]:
    """Give the answers, in the order of their ends; those that the session broke off come last."""
    endpoint = guess(session.method, split_url(session.url).path, upgrade=True)
    followed = Turns(sequential=endpoint.sequential)
    for frame in frames:
        yield from (turn for turn in followed.take(frame) if turn.over)
    yield from followed.rest()


def _exchange(session: Recorded, turn: Turn, number: int) -> Recorded:
    started = datetime.fromtimestamp(turn.started, UTC) if turn.started else session.started_at
    length = max(0.0, turn.ended - turn.started) if turn.started and turn.ended else 0.0
    headers = [pair for pair in session.request_headers if pair[0].lower() not in ("upgrade", "content-type")]
    return replace(
        session,
        url=url_of(session.url, turn),
        request_headers=[*headers, ("upgrade", "websocket"), ("content-type", "application/json")],
        request_body=turn.asked,
        response_headers=headers_of(turn),
        response_body=turn.answer()[1],
        decoded=True,
        started_at=started,
        duration=length,
        first_byte=None,
        outcome="ok" if turn.whole else session.outcome if session.outcome != "ok" else "upstream_aborted",
        key=None if session.key is None else f"{session.key}/{number}",
    )
