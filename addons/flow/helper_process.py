"""Run a process beside the proxy's own, for work that would stop all calls while it lasts.

Python runs one thread at a time, and a parser gives way to no other before it is done. What takes longer than
milliseconds is therefore handed to another process, which has bounds of its own for time and memory. It is
started by the first such work.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

MOST_WAITING = 16
"""Pieces of work that wait or are done; each holds a body of up to 64 MiB."""
WORK_SECONDS = 10.0
"""Longest that one of them may take."""
MEMORY_BYTES = 3 * 2**30
"""Address space of the process."""
NICENESS = 10
"""By which it gives way to the proxy where cores are few."""
TASKS = 200
"""After which it is replaced, and its memory freed."""

Result = TypeVar("Result")


class HelperBusy(Exception):
    """More waits to be done than may wait."""


class WorkTooLarge(Exception):
    """The work would take more time or memory than it may."""


class HelperProcess:
    """Runs one process, started when it is needed. For the event loop's thread."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._waiting = 0

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Give the result of `work`, a function of a module. Raises HelperBusy or WorkTooLarge."""
        if self._waiting >= MOST_WAITING:
            raise HelperBusy
        self._waiting += 1
        try:
            # To submit may start the process, which takes a while.
            future = await asyncio.to_thread(self._submit, work, arguments)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            self._pool = None
            raise WorkTooLarge from error
        except (MemoryError, TimeoutError) as error:
            raise WorkTooLarge from error
        finally:
            self._waiting -= 1

    def _submit(self, work: Callable[..., Result], arguments: tuple[Any, ...]) -> Any:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),
                initializer=_begin,
                max_tasks_per_child=TASKS,
            )
        return self._pool.submit(_bounded, work, arguments)

    def close(self) -> None:
        """End the process; never waits for what it does."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


helper = HelperProcess()
"""Module state, so that a reload of the script does not start another one."""


def _begin() -> None:
    """Set the bounds of the process, which ends with the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    signal.signal(signal.SIGALRM, _too_long)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _too_long(*_: object) -> None:
    raise TimeoutError


def _bounded(work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    signal.setitimer(signal.ITIMER_REAL, WORK_SECONDS)
    try:
        return work(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
