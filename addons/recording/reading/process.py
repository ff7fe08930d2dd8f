"""Run a reading process: calls in, events and their lines out, one message after the other."""

from __future__ import annotations

import logging
import signal
import socket
import sys

from msgspec import UNSET
from msgspec.structs import replace

from addons.recording.cost import BUNDLED, cost_of
from addons.recording.event_builder import written_event
from addons.recording.reading.messages import (
    HELLO,
    Answer,
    LogLine,
    pack_answers,
    receive,
    send,
    unpack_work,
)
from store.core.event import Usage, UsageEvent
from store.spool import encode_object


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


def serve(connection: socket.socket) -> None:
    """Read calls until the proxy closes the connection, or has died."""
    log = Collected()
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.INFO)
    prices = BUNDLED
    _warm_up()
    try:
        send(connection, HELLO)
        while True:
            work = unpack_work(receive(connection))
            prices = work.prices or prices
            answers = []
            for task in work.tasks:
                event, line = written_event(task.exchange, capture=work.capture, prices=prices)
                answers.append(Answer(line, encode_object(_without_bodies(event)), log.take()))
            send(connection, pack_answers(answers))
    except ConnectionError:
        return


def _without_bodies(event: UsageEvent) -> UsageEvent:
    return replace(event, request=UNSET, response=UNSET)


def _warm_up() -> None:
    """Read the prices now: the first call would wait for them."""
    usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
    cost_of(UsageEvent(timestamp="2026-01-01T00:00:00Z", host="api.openai.com", model="gpt-4o", usage=usage))


def main() -> None:
    """Serve the connection whose descriptor is the argument; its end is the end of the process."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # they go to the whole group, and the proxy still needs this
        signal.signal(number, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
