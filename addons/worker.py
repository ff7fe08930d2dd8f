"""The worker thread: finished calls in, events on disk out.

Everything that takes time (decoding, parsing, counting, pricing, writing) happens here and never on the event
loop. Calls that wait are written together: one write, one fdatasync.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from addons.accounts import Accounts
from addons.cost import BUNDLED
from addons.counters import Counters
from addons.event import event_of, outline
from addons.exchange import Exchange
from addons.pressure import LOOK_SECONDS, Pressure
from addons.session_record import session_record
from addons.settling import Recorded, Settling
from store.event import Event
from store.spool import SpoolWriter

logger = logging.getLogger(__name__)

BATCH = 256
"""Most calls in one group commit."""
RETRY_SECONDS = 0.5
IDLE_SECONDS = 1.0
CLOSE_SECONDS = 30.0


class Worker:
    """Owns the spool's writer."""

    def __init__(self, spool: SpoolWriter, settling: Settling) -> None:
        self.healthy = True
        """False while events cannot be written; the gate then refuses new calls."""
        self.capture = "all"
        """Which bodies events keep (option ``llm_capture``)."""
        self.prices = BUNDLED
        """By which costs are told (option ``llm_prices``)."""
        self.counters = Counters()
        """Of all events that are on disk."""
        self.recorded = 0
        """Number of the last of them."""
        self.pressure = Pressure(spool)
        self.on_recorded: Callable[[Sequence[dict[str, Any]]], None] | None = None
        """Called in the worker's thread with events that are on disk: for those who show them."""
        self.accounts: Accounts | None = None
        """Decides on usage that several calls may show."""
        self._spool = spool
        self._settling = settling
        self._queue: SimpleQueue[Exchange | Event | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmproxy-worker", daemon=True)
        self._thread.start()

    @property
    def writer(self) -> str:
        return self._spool.writer

    @property
    def queue_length(self) -> int:
        """Finished calls that are not taken up yet."""
        return self._queue.qsize()

    @property
    def uncounted(self) -> int:
        """Records on disk that the store has not taken in yet."""
        return self._settling.waiting

    @property
    def refuses_calls(self) -> bool:
        """Whether the spool has reached its limit and new calls are to be refused."""
        return self.pressure.full and self.pressure.policy == "refuse"

    def put(self, exchange: Exchange) -> None:
        """Hand over a finished call. Never blocks."""
        self._queue.put(exchange)

    def put_marks(self, events: Sequence[Event]) -> None:
        """Hand over events of no call: marks of soft limits, heads of the audit log. Never blocks."""
        for event in events:
            self._queue.put(event)

    def close(self) -> None:
        """Write everything that was handed over, then end; gives up after CLOSE_SECONDS, and says so."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            logger.error("llmproxy: the spool could not be written in %s s; events are lost", CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            self.healthy = False  # nobody records any more, so nobody may call any more
            logger.exception("llmproxy: the worker ended; new calls are refused until the proxy is restarted")
            raise

    def _work(self) -> None:
        open_ = True
        while open_:
            batch = self._next_batch()
            open_ = None not in batch
            exchanges = [item for item in batch if isinstance(item, Exchange)]
            dropped = self.pressure.sort_out(exchanges)
            if kept := [exchange for exchange in exchanges if exchange.id not in dropped]:
                self._record(kept)
            if served := [e for e in exchanges if e.id in dropped and e.outcome != "refused"]:
                calls = [(exchange, self._event(exchange)) for exchange in served]
                self._settling.dropped(calls)
                self._account([event for _, event in calls])
            if (marks := [item for item in batch if isinstance(item, dict)]) and self._append(marks):
                self._settling.told(marks)
        with contextlib.suppress(OSError):
            self.pressure.tell()
        try:
            self._spool.close()
        except OSError as error:
            logger.error("llmproxy: the writer's closing record could not be written: %s", error)

    def _next_batch(self) -> list[Exchange | Event | None]:
        """All that waits; empty now and then, to look whether the spool is full."""
        batch: list[Exchange | Event | None] = []
        with contextlib.suppress(Empty):
            batch.append(self._queue.get(timeout=LOOK_SECONDS if self.pressure.full else IDLE_SECONDS))
            while len(batch) < BATCH:
                batch.append(self._queue.get_nowait())
        return batch

    def _record(self, exchanges: Sequence[Exchange]) -> None:
        calls = [(exchange, self._event(exchange)) for exchange in exchanges]
        try:
            self._write(calls)
        except Exception:
            # Not the disk but one of the events, which would fail for ever. It must not stop the others.
            for call in calls:
                self._write_alone(*call)
        for exchange in exchanges:
            if exchange.recorded is not None:
                exchange.recorded.set_result(None)

    def _event(self, exchange: Exchange) -> Event:
        if exchange.session_end is not None:
            try:
                return session_record(exchange, exchange.session_end)
            except Exception as error:
                return outline(exchange, error)
        event = event_of(exchange, capture=self.capture, prices=self.prices)
        return event if self.accounts is None else self.accounts.decide(event, self.writer)

    def _write_alone(self, exchange: Exchange, event: Event) -> None:
        try:
            self._write([(exchange, event)])
        except Exception as error:
            self._write([(exchange, outline(exchange, error))])

    def _write(self, calls: Sequence[Recorded]) -> None:
        events = [event for _, event in calls]
        if self._append(events):
            self._settling.recorded(calls, self.recorded)
            self._account(events)
            self._tell(events)

    def _account(self, events: Sequence[Event]) -> None:
        if self.accounts is not None:
            self.accounts.recorded(events)

    def _append(self, events: Sequence[Event]) -> bool:
        """Append `events`; while the disk fails, try again. Events are never dropped to go on.

        False where the end came first.
        """
        while True:
            try:
                self.recorded = self._spool.append(events)
            except OSError as error:
                if self.healthy:
                    self.healthy = False
                    logger.error(
                        "llmproxy: the spool cannot be written (%s); new calls are refused until it can",
                        error,
                    )
                if self._closing.is_set():
                    logger.error("llmproxy: %d events are lost: the spool cannot be written", len(events))
                    return False
                time.sleep(RETRY_SECONDS)
            else:
                if not self.healthy:
                    self.healthy = True
                    logger.warning("llmproxy: the spool can be written again; calls are served")
                self.counters.add(events)
                logger.debug("llmproxy: committed up to %s/%d", self._spool.writer, self.recorded)
                return True

    def _tell(self, events: Sequence[dict[str, Any]]) -> None:
        if self.on_recorded is None:
            return
        try:
            self.on_recorded(events)
        except Exception:
            logger.exception("llmproxy: %d recorded events are not shown", len(events))
