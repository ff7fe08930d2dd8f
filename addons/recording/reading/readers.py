"""Read finished calls for the worker: in its own thread, or in processes beside the proxy's."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import msgspec

from addons.recording.cost import BUNDLED, Prices
from addons.recording.event_builder import outline, written_event
from addons.recording.exchange import Exchange
from addons.recording.reading.messages import (
    HELLO,
    Answer,
    pack_work,
    receive,
    send,
    unpack_answers,
)
from store.core.event import UsageEvent
from store.core.event_fields import read_record
from store.spool.segment import parse

logger = logging.getLogger(__name__)

ROOMS = Path(__file__).resolve().parents[3]
"""The folder in which `addons` and `store` are."""
START_SECONDS = 60.0
READ_SECONDS = 60.0
"""Longest that a process may take for one message."""
TRIES = 3
"""Times that a call is read before it is recorded in outline: what ends every process that reads it."""
THREAD_SECONDS = 60.0
"""How long a thread reads after processes could not be started; then they are tried again."""
MOST_CALLS = 32
MOST_BYTES = 4 * 2**20
"""Of the calls of one message: what is handed over, and not read yet, is no more than this and one call."""
END_SECONDS = 5.0

Written = tuple[UsageEvent, bytes]
"""An event, and its line without a number."""


@dataclass(frozen=True, slots=True)
class Manner:
    """Says how calls are read at the moment."""

    capture: str = "all"
    """Which bodies events keep (option ``llm_capture``)."""
    prices: Prices = BUNDLED
    """By which costs are told (option ``llm_prices``)."""
    whole: bool = False
    """Whether the bodies of the events are wanted, too, and not only in their lines."""


class ReadingFigures(NamedTuple):
    """Says what a reader is and has done."""

    pids: tuple[int, ...] = ()
    """Of its processes."""
    restarts: int = 0
    """Times that one of them ended and was started again."""
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


class CannotStart(Exception):
    """A process did not come as far as to read."""


class Died(Exception):
    """A process ended, or took too long, before it had read what it was given."""


class Unsendable(Exception):
    """A call, or what it is read by, cannot be handed to another process."""


class Lane:
    """Runs one process, started with the first message, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._greeted = False
        """Whether the process has said that it is ready."""
        self._prices: Prices | None = None
        """Those that the process has."""
        self.starts = 0

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None else None

    def launch(self) -> None:
        """Start the process, without waiting until it is ready. Raises CannotStart."""
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": str(ROOMS)}
        command = [sys.executable, "-P", "-m", "addons.recording.reading.process", str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            ours.close()
            raise CannotStart(str(error)) from error
        finally:
            theirs.close()
        ours.settimeout(START_SECONDS)
        self._connection, self._greeted, self._prices = ours, False, None
        self.starts += 1

    def ask(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Answer]:
        """Have calls read. Raises Died, CannotStart or Unsendable."""
        connection = self._ready()
        fresh = manner.prices is not self._prices
        try:
            data = pack_work(exchanges, capture=manner.capture, prices=manner.prices if fresh else None)
        except Exception as error:  # whatever pickling raises: of a value nested too deep, for one
            raise Unsendable(repr(error)) from error
        try:
            connection.settimeout(READ_SECONDS)
            send(connection, data)
            answers = unpack_answers(receive(connection))
        except (OSError, msgspec.DecodeError) as error:
            self.close(at_once=True)
            raise Died(str(error) or type(error).__name__) from error
        if len(answers) != len(exchanges):
            self.close(at_once=True)
            raise Died("it answered with another number of events")
        self._prices = manner.prices
        return answers

    def _ready(self) -> socket.socket:
        """Give the connection to a process that has said that it is ready. Raises CannotStart."""
        for left in reversed(range(TRIES)):
            if self._connection is None:
                self.launch()
            connection = self._connection
            assert connection is not None
            try:
                self._greeted = self._greeted or receive(connection) == HELLO
            except OSError as error:  # it was ended, or its start is broken
                self.close(at_once=True)
                if not left:
                    raise CannotStart(str(error) or type(error).__name__) from error
            else:
                return connection
        raise AssertionError("not reached")

    def close(self, *, at_once: bool = False) -> None:
        """End the process; it does so by itself, unless it reads something."""
        process, self._process = self._process, None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if process is None:
            return
        if not at_once:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
        if process.poll() is None:
            process.kill()
        process.wait()


class ProcessReader:
    """Reads in processes beside the proxy's, which are started again when they end."""

    def __init__(self, count: int) -> None:
        self._lanes = [Lane() for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, "llmproxy-lanes") if count > 1 else None
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
            "llmproxy: the processes of llm_workers cannot be started (%s); a thread reads calls for %g s",
            error,
            THREAD_SECONDS,
        )
        self._thread_until = time.monotonic() + THREAD_SECONDS
        return ThreadReader().read(portion, manner)

    def figures(self) -> ReadingFigures:
        """Give what it is and has done; for any thread."""
        pids = tuple(pid for lane in self._lanes if (pid := lane.pid) is not None)
        restarts = sum(max(0, lane.starts - 1) for lane in self._lanes)
        return ReadingFigures(pids, restarts, self._outlined)

    def close(self) -> None:
        """End the processes; after the last call was read."""
        if self._threads is not None:
            self._threads.shutdown()
        for lane in self._lanes:
            lane.close()


def reader_of(count: int) -> Reader:
    """Give the reader for so many processes; 0: a thread."""
    return ProcessReader(count) if count else ThreadReader()


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
