"""Extend the hold of a stream that goes beyond it, as long as the budgets allow it.

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

from addons.checks.limits import limit_errors, reservation
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.hold import Hold
from addons.mitm import internals as mitm
from addons.openai.endpoint import Endpoint
from addons.openai.http.event_border import EventBorder
from addons.openai.pricing.bill import Unpriced
from addons.openai.pricing.prices import Prices
from store.core.errors import StoreError
from store.ledger import LedgerWorker, LimitExceeded
from store.tokens import limits

logger = logging.getLogger(__name__)

STEP = 256
"""Tokens by which a hold grows at least."""

Tap = Callable[[bytes], bytes | Sequence[bytes]]


def tap(call: Call, response: http.Response, inner: Tap, ledger: LedgerWorker, prices: Prices) -> Tap:
    """Give `inner` with the hold beside it, or alone where that suffices or nothing can be counted."""
    hold, grant = call.hold, call.grant
    if hold is None or hold.most is None or grant is None or response.status_code != 200:
        return inner
    answer = call.answered(response)
    if not answer.is_stream or answer.codings:
        return inner
    return Meter(call, hold, inner, ledger, prices, EventBorder(answer.parsed)).tap


class Meter:
    """Follows one stream. On the event loop."""

    def __init__(
        self,
        call: Call,
        hold: Hold,
        inner: Tap,
        ledger: LedgerWorker,
        prices: Prices,
        border: EventBorder,
    ) -> None:
        assert call.grant is not None
        self._call, self._inner, self._ledger = call, inner, ledger
        self._prices = prices
        self._cuts = limits.on_budget_end(*call.grant.limits) == "cut"
        self._loop = asyncio.get_running_loop()
        self._hold = hold
        self._given = hold.tokens - hold.output_tokens
        self._events = 0
        self._rest = b""
        self._asking = False
        self._done = False
        """It tells whether the hold grows no more."""
        self._why: Refusal | None = None
        """It says why the stream has to end."""
        self._border = border
        """It follows what the client gets, only where the stream may be cut."""
        self._ended = False

    def tap(self, data: bytes) -> bytes | Sequence[bytes]:
        """Pass a piece on and count it.

        Never raises, and never gives an empty piece, which would end the client's stream.
        """
        if self._ended:
            return []
        passed = self._inner(data)
        try:
            if data and not self._done:
                self._count(data)
            if self._why is not None:
                return self._cut([passed] if isinstance(passed, bytes) else passed)
            if self._cuts:
                self._border.feed(passed if isinstance(passed, bytes) else b"".join(passed))
        except Exception:
            self._done, self._why = True, None
            logger.exception("llmproxy: a stream is no longer held against its budget; it goes on")
        return passed

    def _count(self, data: bytes) -> None:
        mark = self._call.kind.stream.piece
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
        wanted = replace(
            self._hold, tokens=self._given + output, nano_usd=self._price(output), output_tokens=output
        )
        self._asking = True
        asked = self._ledger.extend(self._call.id, wanted.tokens, wanted.nano_usd)
        asked.add_done_callback(partial(self._answered, wanted))

    def _price(self, output: int) -> int:
        """Give what is held of dollars now, and the price of the output beyond what it was for."""
        assert self._hold.most is not None
        if not self._hold.nano_usd:
            return 0
        more = replace(self._hold.most, input_tokens=0, hosted={}, unbounded=None)
        more.output_tokens = output - self._hold.output_tokens
        try:
            return self._hold.nano_usd + reservation.price(self._call, more, self._prices)
        except Unpriced:
            return self._hold.nano_usd * output // max(1, self._hold.output_tokens)

    def _answered(self, wanted: Hold, asked: Future[LimitExceeded | None]) -> None:
        """Hand the ledger's answer to the loop. Runs in the ledger's thread."""
        self._loop.call_soon_threadsafe(self._take, wanted, asked)

    def _take(self, wanted: Hold, asked: Future[LimitExceeded | None]) -> None:
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
            self._why = limit_errors.ended(hit)

    def _cut(self, passed: Iterable[bytes]) -> list[bytes]:
        """Pass what completes an event, then the error, and end the stream for both sides."""
        data = b"".join(passed)
        found = self._border.find(data)
        if found is None:
            return [data] if data else []
        assert self._why is not None
        self._ended = True
        self._call.cut = self._why.code
        mitm.end_answer(self._call.flow)
        end, missing = found
        return [data[:end] + missing + error_event(self._call.kind, self._why, self._events)]


def error_event(endpoint: Endpoint, why: Refusal, number: int) -> bytes:
    """Write the error as the API ends a stream with one: all but chat and completions name the event."""
    error = {"message": why.message, "type": why.type, "param": why.param, "code": why.code}
    if not endpoint.stream.named_events:
        return b"data: %b\n\n" % json.dumps({"error": error}).encode()
    event = {"type": "error", "sequence_number": number, "error": error}
    return b"event: error\ndata: %b\n\n" % json.dumps(event).encode()
