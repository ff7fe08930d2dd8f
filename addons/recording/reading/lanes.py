"""Hand calls to a reading process: one of the proxy's own, or one of those that several proxies share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from addons.recording.cost import BUNDLED, Prices
from addons.recording.exchange import Exchange
from addons.recording.reading.messages import (
    BUNDLED_KEY,
    READ_SECONDS,
    Answer,
    Greeting,
    is_of_this_user,
    pack_prices,
    pack_work,
    receive,
    send,
    unpack_answers,
    unpack_greeting,
)

ROOMS = Path(__file__).resolve().parents[3]
"""The folder in which `addons` and `store` are."""
START_SECONDS = 60.0
TRIES = 3
"""Times that a call is read before it is recorded in outline: what ends every process that reads it."""
TURN_SECONDS = 20.0
"""It says how long a message waits for one of the shared processes; then a thread reads for a while."""
END_SECONDS = 5.0
MOST_PIDS = 16


@dataclass(frozen=True, slots=True)
class Manner:
    """Says how calls are read at the moment."""

    capture: str = "all"
    """It says which bodies events keep (option ``llm_capture``)."""
    prices: Prices = BUNDLED
    """By which costs are told (option ``llm_prices``)."""
    whole: bool = False
    """It tells whether the bodies of the events are wanted, too, and not only in their lines."""


class CannotStart(Exception):
    """A process did not come as far as to read."""


class Died(Exception):
    """A process ended, or took too long, before it had read what it was given."""


class Unsendable(Exception):
    """A call, or what it is read by, cannot be handed to another process."""


class Lane(Protocol):
    """Leads to one process at a time; for one thread."""

    @property
    def pids(self) -> Sequence[int]:
        """Of processes that live, and read or have read for this lane."""

    @property
    def restarts(self) -> int:
        """Times that one of them ended before its time."""

    def launch(self) -> None:
        """Have a process started, without waiting until it is ready. Raises CannotStart."""

    def ask(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Answer]:
        """Have calls read. Raises Died, CannotStart or Unsendable."""

    def close(self) -> None: ...


class OwnLane:
    """Runs one process, started with the first message, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._greeting: Greeting | None = None
        """None until the process has said that it is ready."""
        self._packed = _PackedPrices()
        self._starts = 0

    @property
    def pids(self) -> Sequence[int]:
        """Of the process."""
        process = self._process
        return (process.pid,) if process is not None else ()

    @property
    def restarts(self) -> int:
        """Times that it was started again."""
        return max(0, self._starts - 1)

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
        self._connection, self._greeting = ours, None
        self._starts += 1

    def ask(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Answer]:
        """Have calls read. Raises Died, CannotStart or Unsendable."""
        message = self._packed.message(exchanges, manner)
        connection, greeting = self._ready()
        try:
            answers = ask_over(connection, greeting, message)
        except Died:
            self.close(at_once=True)
            raise
        # It has no others now: those of one proxy follow each other.
        greeting.prices = [BUNDLED_KEY, message.key]
        return answers

    def _ready(self) -> tuple[socket.socket, Greeting]:
        """Give the connection to a process that has said that it is ready. Raises CannotStart."""
        for left in reversed(range(TRIES)):
            if self._connection is None:
                self.launch()
            connection = self._connection
            assert connection is not None
            try:
                self._greeting = self._greeting or unpack_greeting(receive(connection))
            except (OSError, msgspec.DecodeError) as error:  # it was ended, or its start is broken
                self.close(at_once=True)
                if not left:
                    raise CannotStart(str(error) or type(error).__name__) from error
            else:
                return connection, self._greeting
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


class SharedLane:
    """Leads to the processes that all proxies of one ``llmproxy serve`` share (:mod:`.pool`).

    Each message has a connection of its own, which whoever has nothing else to do takes: so no process is
    kept for a proxy that is idle, and none waits behind another proxy's call while one is free.
    """

    def __init__(self, place: Path) -> None:
        """Take as `place` the socket at which they wait."""
        self._place = place
        self._packed = _PackedPrices()
        self._seen: dict[int, None] = {}
        """The processes that greeted, the last one last."""
        self._died = 0

    @property
    def pids(self) -> Sequence[int]:
        """Of those that have read for this proxy, and live."""
        return [pid for pid in list(self._seen) if _lives(pid)]

    @property
    def restarts(self) -> int:
        """Times that one of them ended while it read for this proxy."""
        return self._died

    def launch(self) -> None:
        """Knock: they are started when first somebody comes. Raises CannotStart."""
        try:
            self._connected().close()
        except OSError as error:
            raise CannotStart(f"{self._place}: {error.strerror or error}") from error

    def ask(self, exchanges: Sequence[Exchange], manner: Manner) -> list[Answer]:
        """Have calls read. Raises Died, CannotStart or Unsendable."""
        message = self._packed.message(exchanges, manner)  # before: nobody waits for what this takes
        connection, greeting = self._ready()
        with connection:
            try:
                return ask_over(connection, greeting, message)
            except Died:
                self._died += 1
                raise

    def close(self) -> None:
        """Leave: the processes are others', too."""

    def _ready(self) -> tuple[socket.socket, Greeting]:
        """Connect, and wait until one has taken the connection. Raises CannotStart."""
        for left in reversed(range(TRIES)):
            connection = None
            try:
                connection = self._connected()
                greeting = unpack_greeting(receive(connection))
            except (OSError, msgspec.DecodeError) as error:  # one that ended meanwhile, or none is there
                if connection is not None:
                    connection.close()
                if not left or isinstance(error, TimeoutError):
                    raise CannotStart(str(error) or type(error).__name__) from error
            else:
                self._seen.pop(greeting.pid, None)
                self._seen[greeting.pid] = None
                while len(self._seen) > MOST_PIDS:
                    del self._seen[next(iter(self._seen))]
                return connection, greeting
        raise AssertionError("not reached")

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TURN_SECONDS)
            connection.connect(str(self._place))
            if not is_of_this_user(connection):
                raise PermissionError(f"{self._place} is another user's")
        except OSError:
            connection.close()
            raise
        return connection


class Message(NamedTuple):
    """Is what is sent to a process."""

    key: str
    """Names the prices."""
    prices: bytes
    work: bytes
    calls: int


class _PackedPrices:
    """Keeps what prices are as bytes: they are the same for thousands of messages."""

    def __init__(self) -> None:
        self._prices, self._key, self._data = BUNDLED, BUNDLED_KEY, b""

    def message(self, exchanges: Sequence[Exchange], manner: Manner) -> Message:
        """Write a message. Raises Unsendable."""
        try:
            if manner.prices is not self._prices:
                self._pack(manner.prices)
            work = pack_work(exchanges, capture=manner.capture, prices=self._key)
        except Exception as error:  # whatever pickling raises: of a value nested too deep, for one
            raise Unsendable(repr(error)) from error
        return Message(self._key, self._data, work, len(exchanges))

    def _pack(self, prices: Prices) -> None:
        data = b"" if prices is BUNDLED else pack_prices(prices)
        key = hashlib.sha256(data).hexdigest() if data else BUNDLED_KEY
        self._prices, self._key, self._data = prices, key, data


def ask_over(connection: socket.socket, greeting: Greeting, message: Message) -> list[Answer]:
    """Send a message to a process that has greeted, and wait for what it answers. Raises Died."""
    try:
        connection.settimeout(READ_SECONDS)
        send(connection, b"" if message.key in greeting.prices else message.prices)
        send(connection, message.work)
        answers = unpack_answers(receive(connection))
    except (OSError, msgspec.DecodeError) as error:
        raise Died(str(error) or type(error).__name__) from error
    if len(answers) != message.calls:
        raise Died("it answered with another number of events")
    return answers


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
