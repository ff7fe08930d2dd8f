"""Run a reading process: calls in, events and their lines out, one message after the other."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import socket
import sys

from msgspec import UNSET
from msgspec.structs import replace

from addons.recording.cost import BUNDLED, Prices, cost_of
from addons.recording.event_builder import written_event
from addons.recording.reading.messages import (
    BUNDLED_KEY,
    Answer,
    LogLine,
    Message,
    pack_answers,
    pack_greeting,
    receive,
    send,
    unpack_prices,
    unpack_work,
)
from store.core.event import Usage, UsageEvent
from store.spool import encode_object

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""As malloc.h of glibc names them for mallopt."""
KEPT_BLOCK, KEPT_MEMORY = 16 * 2**20, 32 * 2**20
"""Bytes of a block that is kept when it is freed, such as a message of many calls, and of all that is."""
MOST_PRICES = 4
"""Besides those of the program; several proxies may have prices of their own."""


class Collected(logging.Handler):
    """Keeps what is logged, for the proxy to log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[LogLine] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(LogLine(record.levelno, self.format(record)))

    def take(self) -> list[LogLine]:
        """Give what was logged since the last time."""
        lines, self.lines = self.lines, []
        return lines


class CallReader:
    """Reads the calls of messages, and remembers prices from one to the next."""

    def __init__(self) -> None:
        self._log = Collected()
        logging.getLogger().addHandler(self._log)
        logging.getLogger().setLevel(logging.INFO)
        self._prices: dict[str, Prices] = {}
        """By key, the last used last."""

    def greeting(self) -> bytes:
        """Write what is said first on a connection."""
        return pack_greeting([BUNDLED_KEY, *self._prices])

    def answer(self, prices: Message, data: Message) -> bytes:
        """Read a message, with prices where they were not there yet."""
        work = unpack_work(data)
        priced_by = self._prices_of(work.prices, prices)
        answers = []
        for task in work.tasks:
            event, line = written_event(task.exchange, capture=work.capture, prices=priced_by)
            answers.append(Answer(line, encode_object(_without_bodies(event)), self._log.take()))
        return pack_answers(answers)

    def _prices_of(self, key: str, data: Message) -> Prices:
        if key == BUNDLED_KEY:
            return BUNDLED
        found = unpack_prices(data) if data else self._prices.pop(key)
        self._prices[key] = found
        while len(self._prices) > MOST_PRICES:
            del self._prices[next(iter(self._prices))]
        return found


def serve(connection: socket.socket) -> None:
    """Read calls until the proxy closes the connection, or has died."""
    reader = CallReader()
    warm_up()
    try:
        send(connection, reader.greeting())
        while True:
            send(connection, reader.answer(receive(connection), receive(connection)))
    except ConnectionError:
        return


def _without_bodies(event: UsageEvent) -> UsageEvent:
    return replace(event, request=UNSET, response=UNSET)


def warm_up() -> None:
    """Read the prices now: the first call would wait for them."""
    usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
    cost_of(UsageEvent(timestamp="2026-01-01T00:00:00Z", host="api.openai.com", model="gpt-4o", usage=usage))


def ignore_signals() -> None:
    """Outlive signals that go to a whole group: a proxy that ends still needs its reading process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def keep_memory() -> None:
    """Have the C library keep some of what is freed: else a long body lies in new pages for each call.

    The kernel makes them one by one, in half a millisecond for a body of 200 KB. Only of glibc this is known.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, KEPT_BLOCK)
        mallopt(TRIM_THRESHOLD, KEPT_MEMORY)


def main() -> None:
    """Serve the connection whose descriptor is the argument; its end is the end of the process."""
    ignore_signals()
    keep_memory()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
