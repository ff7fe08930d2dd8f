"""Write the events of finished calls to disk, in the worker thread.

Everything that takes time (decoding, parsing, counting, pricing, writing) happens here and never on the event
loop; what can be done by other processes is done by those (:mod:`addons.recording.reading`). Calls that wait
are written together: one write, one fdatasync.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Sequence

from addons.recording.cost import BUNDLED
from addons.recording.counters import Counters
from addons.recording.event_builder import outline
from addons.recording.exchange import Exchange
from addons.recording.pressure import LOOK_SECONDS, Pressure
from addons.recording.reading.lanes import Manner
from addons.recording.reading.readers import Reader, ReadingFigures, ThreadReader
from addons.recording.scrubbing import scrub
from addons.recording.session_record import session_record
from addons.recording.settling import Recorded, Settling
from addons.recording.shared_usage import SharedUsage, priced_anew
from store.core.event import BaseRecord, UsageEvent
from store.core.worker_thread import WorkerThread, fail
from store.spool import Line, SpoolWriter, encode_object

logger = logging.getLogger(__name__)

BATCH = 256
"""Most calls in one group commit."""
RETRY_SECONDS = 0.5
IDLE_SECONDS = 1.0
CLOSE_SECONDS = 30.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Worker:
    """Owns the spool's writer."""

    def __init__(self, spool: SpoolWriter, settling: Settling, reader: Reader | None = None) -> None:
        """Take as `reader` what reads the calls; without one the worker's thread does."""
        self.healthy = True
        """False while events cannot be written; the gate then refuses new calls."""
        self.capture = "all"
        """It says which bodies events keep (option ``llm_capture``)."""
        self.prices = BUNDLED
        """By which costs are told (option ``llm_prices``)."""
        self.gather_seconds = 0.0
        """It says how long a finished call waits for others that are recorded with it."""
        self.counters = Counters()
        """It is that of all events that are on disk."""
        self.recorded = 0
        """Number of the last of them."""
        self.pressure = Pressure(spool)
        self.on_recorded: Callable[[Sequence[BaseRecord]], None] | None = None
        """Called in the worker's thread with records that are on disk: for those who show them."""
        self.accounts: SharedUsage | None = None
        """Decides on usage that several calls may show."""
        self._spool = spool
        self._reader = reader or ThreadReader()
        self._settling = settling
        self._looked = 0.0
        self._thread: WorkerThread[Exchange | BaseRecord] = WorkerThread(
            "llmproxy-worker",
            self._work_on,
            batch=BATCH,
            pause=lambda: LOOK_SECONDS if self.pressure.full or not self.healthy else IDLE_SECONDS,
            refuse=self._lose,
            end=self._end,
            gather=lambda: self.gather_seconds,
        )
        self._thread.start()

    @property
    def writer(self) -> str:
        return self._spool.writer

    @property
    def queue_length(self) -> int:
        """Give the number of finished calls that are not taken up yet."""
        return self._thread.waiting

    @property
    def uncounted(self) -> int:
        """Give the number of records on disk that the store has not taken in yet."""
        return self._settling.waiting

    @property
    def reading(self) -> ReadingFigures:
        """Say who reads the calls, and what became of those who did."""
        return self._reader.figures()

    @property
    def refuses_calls(self) -> bool:
        """Tell whether the spool has reached its limit and new calls are to be refused."""
        return self.pressure.full and self.pressure.policy == "refuse"

    def put(self, exchange: Exchange) -> None:
        """Hand over a finished call. Never blocks."""
        self._thread.put(exchange)

    def put_marks(self, records: Sequence[BaseRecord]) -> None:
        """Hand over records of no call: budget alerts, heads of the audit log. Never blocks."""
        for record in records:
            self._thread.put(record)

    def close(self) -> None:
        """Write everything that was handed over, then end; gives up after CLOSE_SECONDS, and says so."""
        if not self._thread.close(CLOSE_SECONDS):
            logger.error("llmproxy: the spool could not be written in %s s; events are lost", CLOSE_SECONDS)

    def _lose(self, item: Exchange | BaseRecord, error: Exception) -> None:
        """Refuse what comes when nobody records any more; then nobody may call any more, either."""
        self.healthy = False
        if isinstance(item, Exchange):
            logger.error("llmproxy: the event of call %s is lost: %s", item.id, error)
            if item.recorded is not None:
                fail(item.recorded, error)

    def _work_on(self, batch: list[Exchange | BaseRecord]) -> None:
        try:
            self._take_in(batch)
        except BaseException:
            self.healthy = False  # nobody records any more, so nobody may call any more
            logger.exception("llmproxy: the worker ended; new calls are refused until the proxy is restarted")
            raise

    def _take_in(self, batch: list[Exchange | BaseRecord]) -> None:
        """Record all that waits; called with nothing now and then, to look at the spool."""
        self._look_after_spool()
        exchanges = [item for item in batch if isinstance(item, Exchange)]
        dropped = self.pressure.sort_out(exchanges)
        if kept := [exchange for exchange in exchanges if exchange.id not in dropped]:
            self._record(kept)
        if served := [e for e in exchanges if e.id in dropped and e.outcome != "refused"]:
            calls = self._read(served)
            self._settling.dropped(calls)
            self._account([call.event for call in calls])
        marks = [item for item in batch if isinstance(item, BaseRecord)]
        if marks and self._append(marks, [Line.of(mark) for mark in marks]):
            self._settling.told(marks)

    def _look_after_spool(self) -> None:
        """Notice a folder that was removed or moved, before a call is lost with it, and begin it anew."""
        now = time.monotonic()
        if self.healthy and now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            self._spool.check()
        except OSError as error:
            self._suffer(error)
            with contextlib.suppress(OSError):
                self._spool.reopen()
                self._recover()

    def _suffer(self, error: OSError) -> None:
        """Have the gate refuse new calls."""
        if self.healthy:
            self.healthy = False
            logger.error(
                "llmproxy: the spool cannot be written (%s); new calls are refused until it can", error
            )

    def _recover(self) -> None:
        if not self.healthy:
            self.healthy = True
            logger.warning("llmproxy: the spool can be written again; calls are served")

    def _end(self) -> None:
        self._reader.close()
        with contextlib.suppress(OSError):
            self.pressure.tell()
        try:
            self._spool.close()
        except OSError as error:
            logger.error("llmproxy: the writer's closing record could not be written: %s", error)

    def _record(self, exchanges: Sequence[Exchange]) -> None:
        self._write(self._read(exchanges))
        for exchange in exchanges:
            if exchange.recorded is not None and not exchange.recorded.done():
                exchange.recorded.set_result(None)

    def _read(self, exchanges: Sequence[Exchange]) -> list[Recorded]:
        """Make the records of calls and sessions, in their order."""
        manner = Manner(self.capture, self.prices, whole=self.on_recorded is not None)
        calls = [exchange for exchange in exchanges if exchange.session_end is None]
        written = iter(self._reader.read(calls, manner) if calls else ())
        return [
            self._decided(exchange, *next(written)) if exchange.session_end is None else _session(exchange)
            for exchange in exchanges
        ]

    def _decided(self, exchange: Exchange, event: UsageEvent, line: bytes) -> Recorded:
        if self.accounts is not None and event.usage_of is not None:
            event = priced_anew(event, self.accounts.decide(event, self.writer), self.prices)
            line = encode_object(event)
        return Recorded(exchange, event, line)

    def _write(self, calls: Sequence[Recorded]) -> None:
        events = [call.event for call in calls]
        if self._append(events, [Line(call.exchange.id, call.line) for call in calls]):
            self._settling.recorded(calls, self.recorded)
            self._account(events)
            self._tell(events)

    def _account(self, records: Sequence[BaseRecord]) -> None:
        if self.accounts is not None:
            self.accounts.recorded(records)

    def _append(self, records: Sequence[BaseRecord], lines: Sequence[Line]) -> bool:
        """Append `lines`, which are those of `records`; while the disk fails, try again.

        Records are never dropped to go on.

        False where the end came first.
        """
        while True:
            try:
                self.recorded = self._spool.append(lines)
            except OSError as error:
                self._suffer(error)
                with contextlib.suppress(OSError):
                    if error.errno in FULL:
                        # Only a segment that has ended can be removed once it is sent on, and make room.
                        self._spool.roll()
                    elif error.errno == errno.ESTALE:
                        self._spool.reopen()
                        continue
                if self._thread.closing.is_set():
                    logger.error("llmproxy: %d events are lost: the spool cannot be written", len(lines))
                    return False
                self._thread.closing.wait(RETRY_SECONDS)
            else:
                self._recover()
                self.counters.add(records)
                logger.debug("llmproxy: committed up to %s/%d", self._spool.writer, self.recorded)
                return True

    def _tell(self, records: Sequence[BaseRecord]) -> None:
        if self.on_recorded is None:
            return
        try:
            self.on_recorded(records)
        except Exception:
            logger.exception("llmproxy: %d recorded events are not shown", len(records))


def _session(exchange: Exchange) -> Recorded:
    assert exchange.session_end is not None
    try:
        session = session_record(exchange, exchange.session_end)
        return Recorded(exchange, *scrub(session, exchange.secrets))
    except Exception as error:
        return Recorded(exchange, *outline(exchange, error))
