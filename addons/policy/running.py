"""Streams that go beyond what they hold: the hold grows with them, as long as the budgets allow it.

Of a stream only its pieces pass here, so the output is counted by its events: one for each token, about.
What is hidden (reasoning) is not seen before the end. Where the budget has ended, ``on_budget_end`` decides:
the stream may finish, or it is ended with an error that clients understand.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from mitmproxy import http

from addons import mitm
from addons.calls import Call
from addons.openai.bill import Unpriced
from addons.openai.encoding import codings_of
from addons.openai.prices import Prices
from addons.policy import refusals, reservation
from addons.policy.reservation import Hold
from addons.refusal import Refusal
from store import limits
from store.errors import StoreError
from store.ledger import Clerk, Hit

logger = logging.getLogger(__name__)

DELTA, TEXT = b'"delta"', b'"text"'
"""Stands once in each event that brings something new; the second one in those of completions."""
STEP = 256
"""Tokens by which a hold grows at least."""
ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""Of an event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

Tap = Callable[[bytes], bytes | Sequence[bytes]]


def tap(call: Call, response: http.Response, inner: Tap, clerk: Clerk, prices: Prices) -> Tap:
    """`inner`, and beside it the hold; `inner` alone where the hold suffices or nothing can be counted."""
    hold, grant = call.hold, call.grant
    if hold is None or hold.most is None or grant is None or response.status_code != 200:
        return inner
    if "event-stream" not in response.headers.get("content-type", "").lower():
        return inner
    if codings_of(",".join(response.headers.get_all("content-encoding"))):
        return inner
    return Meter(call, hold, inner, clerk, prices).tap


class Meter:
    """Follows one stream. On the event loop."""

    def __init__(self, call: Call, hold: Hold, inner: Tap, clerk: Clerk, prices: Prices) -> None:
        assert call.grant is not None
        self._call, self._inner, self._clerk = call, inner, clerk
        self._prices = prices
        self._cuts = limits.on_budget_end(*call.grant.limits) == "cut"
        self._loop = asyncio.get_running_loop()
        self._hold = hold
        self._given = hold.tokens - hold.output_tokens
        self._events = 0
        self._rest = b""
        self._asking = False
        self._done = False
        """Whether the hold grows no more."""
        self._why: Refusal | None = None
        """Why the stream has to end."""
        self._last = b""
        self._ended = False

    def tap(self, data: bytes) -> bytes | Sequence[bytes]:
        """Never raises, and never gives an empty piece, which would end the client's stream."""
        if self._ended:
            return []
        passed = self._inner(data)
        try:
            if data and not self._done:
                self._count(data)
            if self._why is not None:
                return self._cut([passed] if isinstance(passed, bytes) else passed)
            self._last = (self._last + (passed if isinstance(passed, bytes) else b"".join(passed)))[-4:]
        except Exception:
            self._done, self._why = True, None
            logger.exception("llmproxy: a stream is no longer held against its budget; it goes on")
        return passed

    def _count(self, data: bytes) -> None:
        mark = TEXT if self._call.endpoint == "completions" else DELTA
        data = self._rest + data
        self._events += data.count(mark)
        self._rest = data[1 - len(mark) :]  # too short to hold the mark: it may begin there
        if self._events > self._hold.output_tokens and not self._asking:
            self._grow()

    def _grow(self) -> None:
        """Ask for half as much again; what passes meanwhile is not held back."""
        most = self._hold.most
        assert most is not None
        output = self._events + max(STEP, self._events // 2)
        if not most.unbounded:
            output = min(output, most.output_tokens)
        if output <= self._hold.output_tokens:
            self._done = True  # as the model's longest answer, or the request's, is held already
            return
        wanted = Hold(self._given + output, self._price(output), output, most)
        self._asking = True
        asked = self._clerk.extend(self._call.id, wanted.tokens, wanted.nano_usd)
        asked.add_done_callback(partial(self._answered, wanted))

    def _price(self, output: int) -> int:
        """What is held of dollars now, and the price of the output beyond what it was for."""
        assert self._hold.most is not None
        if not self._hold.nano_usd:
            return 0
        more = replace(self._hold.most, input_tokens=0, hosted={}, unbounded=None)
        more.output_tokens = output - self._hold.output_tokens
        try:
            return self._hold.nano_usd + reservation.price(self._call, more, self._prices)
        except Unpriced:
            return self._hold.nano_usd * output // max(1, self._hold.output_tokens)

    def _answered(self, wanted: Hold, asked: Future[Hit | None]) -> None:
        """In the clerk's thread."""
        self._loop.call_soon_threadsafe(self._take, wanted, asked)

    def _take(self, wanted: Hold, asked: Future[Hit | None]) -> None:
        self._asking = False
        try:
            hit = asked.result()
        except StoreError:
            return  # with the next event it is tried again
        if hit is None:
            self._hold = self._call.hold = wanted
            return
        self._done = True
        if self._cuts:
            self._why = refusals.ended(hit)

    def _cut(self, passed: Iterable[bytes]) -> list[bytes]:
        """Pass what completes an event, then the error, and end the stream for both sides."""
        data = b"".join(passed)
        at_border = not self._last or self._last.endswith(ENDS)
        end = 0 if at_border else _border(self._last, data)
        if end is None:
            self._last = (self._last + data)[-4:]
            return [data] if data else []
        assert self._why is not None
        self._ended = True
        self._call.cut = self._why.code
        mitm.end_answer(self._call.flow)
        return [data[:end] + error_event(self._call.endpoint, self._why, self._events)]


def _border(before: bytes, data: bytes) -> int | None:
    """Where the event that `before` is a part of ends in `data`."""
    joined = before + data
    found = [at + len(end) for end in ENDS if (at := joined.find(end)) >= 0]
    return max(0, min(found) - len(before)) if found else None


def error_event(endpoint: str, why: Refusal, number: int) -> bytes:
    """The error as the API ends a stream with one: all but chat and completions name the event."""
    error = {"message": why.message, "type": why.type, "param": why.param, "code": why.code}
    if endpoint in ("chat", "completions"):
        return b"data: %b\n\n" % json.dumps({"error": error}).encode()
    event = {"type": "error", "sequence_number": number, "error": error}
    return b"event: error\ndata: %b\n\n" % json.dumps(event).encode()
