"""Read finished calls for the worker: in its own thread, or in processes beside the proxy's."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import msgspec

from addons.recording.event_builder import outline, written_event
from addons.recording.exchange import Exchange
from addons.recording.reading.lanes import (
    TRIES,
    CannotStart,
    Died,
    Lane,
    Manner,
    OwnLane,
    SharedLane,
    Unsendable,
)
from addons.recording.reading.messages import Answer
from store.core.event import UsageEvent
from store.core.event_fields import read_record
from store.spool.segment import parse

logger = logging.getLogger(__name__)

VARIABLE = "LLMPROXY_READERS"
"""It is that of a proxy's environment: the socket of the processes that all proxies of one ``llmproxy serve``
share."""
THREAD_SECONDS = 60.0
"""It says how long a thread reads after processes could not be started; then they are tried again."""
MOST_CALLS = 32
MOST_BYTES = 4 * 2**20
"""It is that of the calls of one message: what is handed over, and not read yet, is no more than this and one
call."""

Written = tuple[UsageEvent, bytes]
"""An event, and its line without a number."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Says who reads finished calls (option ``llm_workers``)."""

    processes: int = 0
    """Beside the proxy, and its own; 0: a thread of the proxy's."""
    shared: Path | None = None
    """The socket of processes that read for other proxies, too; then there are none of its own."""

    @property
    def apart(self) -> bool:
        """Tell whether others than the proxy itself read."""
        return bool(self.processes or self.shared)


class ReadingFigures(NamedTuple):
    """Says what a reader is and has done."""

    pids: tuple[int, ...] = ()
    """It is that of its processes; of shared ones, of those that have read for it."""
    restarts: int = 0
    """Times that one of them ended before its time."""
    outlined: int = 0
    """Calls that ended every process which read them."""


class Reader(Protocol):
    """Reads calls; for one thread, which waits for it."""

    def read(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Written]:
        """Give the event of each call, in their order. Never raises."""

    def figures(self) -> ReadingFigures:
        """Give what it is and has done; for any thread."""

    def close(self) -> None: ...


class ThreadReader:
    """Reads in the thread that asks."""

    def read(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Written]:
        return [written_event(one, capture=manner.capture, prices=manner.prices) for one in exchanges]

    def figures(self) -> ReadingFigures:
        return ReadingFigures()

    def close(self) -> None:
        pass


class ProcessReader:
    """Reads in processes beside the proxy's, which are started again when they end."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._threads = ThreadPoolExecutor(len(lanes), "llmproxy-lanes") if len(lanes) > 1 else None
        self._thread_until = 0.0
        """Until when (monotonic seconds) the thread reads: processes could not be started."""
        self._outlined = 0
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)
            with contextlib.suppress(CannotStart):  # the first call says so
                lane.launch()

    def read(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Written]:
        """Give the event of each call, in their order. Never raises."""
        portions = list(_portions(exchanges))
        if self._threads is None or len(portions) <= 1:
            found = [self._read(portion, manner) for portion in portions]
        else:
            found = list(self._threads.map(lambda portion: self._read(portion, manner), portions))
        return [written for portion in found for written in portion]

    def _read(self, portion: Sequence[Exchange], manner: Manner) -> list[Written]:
        lane = self._free.get()
        try:
            return self._read_by(lane, portion, manner)
        finally:
            self._free.put(lane)

    def _read_by(self, lane: Lane, portion: Sequence[Exchange], manner: Manner) -> list[Written]:
        """Read a portion; what ends the process is found out by reading its calls one by one."""
        if time.monotonic() < self._thread_until:
            return ThreadReader().read(portion, manner)
        try:
            answers = lane.ask(portion, manner)
        except CannotStart as error:
            return self._read_here(portion, manner, error)
        except Unsendable as error:
            if len(portion) > 1:
                return [self._read_by(lane, [one], manner)[0] for one in portion]
            logger.info("llmproxy: call %s is read in a thread: %s", portion[0].id, error)
            return ThreadReader().read(portion, manner)
        except Died as error:
            logger.warning("llmproxy: a process that reads calls ended (%s); they are read again", error)
            return [self._read_alone(lane, one, manner, error) for one in portion]
        return [_written(answer, one, manner) for answer, one in zip(answers, portion, strict=True)]

    def _read_alone(self, lane: Lane, exchange: Exchange, manner: Manner, why: Exception) -> Written:
        for _ in range(TRIES - 1):
            try:
                return _written(lane.ask([exchange], manner)[0], exchange, manner)
            except CannotStart as error:
                return self._read_here([exchange], manner, error)[0]
            except Died as error:
                why = error
        self._outlined += 1
        return outline(exchange, why)

    def _read_here(self, portion: Sequence[Exchange], manner: Manner, error: Exception) -> list[Written]:
        logger.error(
            "llmproxy: the processes of llm_workers cannot be reached (%s); a thread reads calls for %g s",
            error,
            THREAD_SECONDS,
        )
        self._thread_until = time.monotonic() + THREAD_SECONDS
        return ThreadReader().read(portion, manner)

    def figures(self) -> ReadingFigures:
        """Give what it is and has done; for any thread."""
        pids = tuple(pid for lane in self._lanes for pid in lane.pids)
        return ReadingFigures(pids, sum(lane.restarts for lane in self._lanes), self._outlined)

    def close(self) -> None:
        """End the processes; after the last call was read."""
        if self._threads is not None:
            self._threads.shutdown()
        for lane in self._lanes:
            lane.close()


def reader_of(readers: Readers) -> Reader:
    """Give what reads in this way."""
    if readers.shared is not None:
        return ProcessReader([SharedLane(readers.shared)])
    if readers.processes:
        return ProcessReader([OwnLane() for _ in range(readers.processes)])
    return ThreadReader()


def _portions(exchanges: Sequence[Exchange]) -> Iterator[list[Exchange]]:
    """Yield parts for one message each."""
    portion: list[Exchange] = []
    size = 0
    for one in exchanges:
        more = len(one.request_body.data) + (len(one.response_body.data) if one.response_body else 0)
        if portion and (len(portion) >= MOST_CALLS or size + more > MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += more
    if portion:
        yield portion


_decode = msgspec.json.Decoder(UsageEvent).decode


def _written(answer: Answer, exchange: Exchange, manner: Manner) -> Written:
    for one in answer.log:
        logger.log(one.level, "%s", one.text)
    try:
        event = _decode(answer.event)
    except msgspec.DecodeError:  # half of a surrogate pair
        event = read_record(parse(answer.event) or {}, UsageEvent)
    if manner.whole or event.usage_of is not None:
        event = read_record(parse(answer.line) or {}, UsageEvent)
    return (
        (event, answer.line)
        if event.event_id == exchange.id
        else outline(exchange, Died("another call's event"))
    )
