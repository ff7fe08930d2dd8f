"""Run the reading processes that all proxies of one ``llmproxy serve`` share.

One process loads what reading takes, and forks those that read, so that memory which nobody writes to is
there once. All wait at one socket, and each takes a connection when it has nothing else to do: a call that
takes long keeps one process, and waits for none. A connection carries one message and its answer.

What only one of them has loaded meanwhile (a vocabulary) the first process loads, too; then those that read
end, each after its message, and are forked anew.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import NoReturn

from addons.openai import vocabulary
from addons.recording.reading.messages import READ_SECONDS, is_of_this_user, receive, send
from addons.recording.reading.process import CallReader, ignore_signals, keep_memory, warm_up

SILENCE_SECONDS = 10.0
"""Longest that a proxy which was greeted may be silent."""
MOST_GROWTH = 256 * 2**20
"""Bytes by which a process may have grown when it is replaced: Python gives little of its heap back."""
FORK_SECONDS = 0.05
"""Least time between the start of a process and that of its successor."""


@dataclass(slots=True)
class Forked:
    """Is a process that reads."""

    pid: int
    link: socket.socket
    """Its end is the end of the process. What comes from it are the names of vocabularies that it loaded."""
    born: float


class Pool:
    """Keeps so many processes reading, until nobody is left who could ask."""

    def __init__(self, listener: socket.socket, users: int, count: int) -> None:
        """Take a pipe as `users` whose other end all have who may ask."""
        self._listener, self._users, self._count = listener, users, count
        self._forked: list[Forked] = []

    def run(self) -> None:
        """Serve until the last user is gone."""
        warm_up()
        try:
            while True:
                gc.collect()
                gc.freeze()  # or the first collection of a fork would write to all of it
                while len(self._forked) < self._count:
                    self._fork()
                if not self._wait():
                    return
        finally:
            for one in self._forked:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)

    def _wait(self) -> bool:
        """Wait until one has ended or loaded something; False once the last user is gone."""
        poll = select.poll()
        for descriptor in (self._users, *(one.link.fileno() for one in self._forked)):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if self._users in ready:
            return False
        for one in [one for one in self._forked if one.link.fileno() in ready]:
            names = _received(one.link)
            if not names:
                self._bury(one)
            elif [name for name in names if name not in vocabulary.loaded() and vocabulary.load(name)]:
                self._replace_all()
        return True

    def _bury(self, one: Forked) -> None:
        self._forked.remove(one)
        one.link.close()
        os.waitpid(one.pid, 0)
        time.sleep(max(0.0, one.born + FORK_SECONDS - time.monotonic()))

    def _replace_all(self) -> None:
        """Have each end after what it is at."""
        for one in self._forked:
            with contextlib.suppress(OSError):
                one.link.shutdown(socket.SHUT_WR)

    def _fork(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            for one in self._forked:
                one.link.close()
            _read_as_a_process(self._listener, theirs)
        theirs.close()
        self._forked.append(Forked(pid, ours, time.monotonic()))


def _received(link: socket.socket) -> list[str]:
    try:
        return link.recv(4096).decode("ascii").split()
    except OSError:
        return []


def _read_as_a_process(listener: socket.socket, link: socket.socket) -> NoReturn:
    status = 1
    try:
        read_for_all(listener, link)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def read_for_all(listener: socket.socket, link: socket.socket) -> None:
    """Read messages, one connection after the other, until the end of `link`, or grown too large."""
    reader = CallReader()
    listener.setblocking(False)
    waiting = _waiting_at(listener, link)
    known, most = vocabulary.loaded(), _most_memory() + MOST_GROWTH
    while link.fileno() not in [found for found, _ in waiting.poll()]:
        with contextlib.suppress(BlockingIOError):  # another was quicker
            connection, _ = listener.accept()
            with connection:
                _read_one(connection, reader)
        if news := vocabulary.loaded() - known:
            known |= news
            with contextlib.suppress(OSError):  # the end of the link is read next
                link.sendall("".join(f"{name}\n" for name in news).encode("ascii"))
        if _most_memory() > most:
            return


def _waiting_at(listener: socket.socket, link: socket.socket) -> select.epoll | select.poll:
    """Wait for both; a new connection wakes one of those that wait, where the kernel has that."""
    if hasattr(select, "epoll"):
        found = select.epoll()
        found.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        found.register(link, select.EPOLLIN)
        return found
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(link, select.POLLIN)
    return poll


def _read_one(connection: socket.socket, reader: CallReader) -> None:
    if not is_of_this_user(connection):
        return
    connection.settimeout(SILENCE_SECONDS)
    try:
        send(connection, reader.greeting())
        prices, data = receive(connection), receive(connection)
        signal.setitimer(signal.ITIMER_REAL, READ_SECONDS)  # SIGALRM ends the process, whatever it is at
        try:
            answer = reader.answer(prices, data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        send(connection, answer)
    except OSError:  # the proxy has ended, or stands still
        return


def _most_memory() -> int:
    """Give the most bytes that this process has had in memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Take the descriptors of the socket and of the pipe of its users, and the number of processes."""
    ignore_signals()
    keep_memory()
    listener, users, count = (int(argument) for argument in sys.argv[1:])
    Pool(socket.socket(fileno=listener), users, count).run()


if __name__ == "__main__":
    main()
