"""Find what a token grants by its text, where the store is on a server.

A thread asks every POLL_SECONDS for the revision, which triggers raise with every change of policy. What is
in memory counts while that is confirmed by a question that began at most FRESH_SECONDS ago; else the call
waits for the next one. So a revocation holds in every process from FRESH_SECONDS after its commit, however
busy the machine, and no call waits where all is well. (Asking, and not LISTEN/NOTIFY: it is the same on all
servers, goes through poolers, and notices by itself that nothing is heard any more.)

Texts that are not in memory are looked up by the same thread, all that wait at once. While the server is
away, what is in memory serves for the grace; after that, and for all else, StoreUnavailable is raised.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future

from store.core.errors import DamagedRow, StoreError, StoreUnavailable
from store.core.worker_thread import WorkerThread, fail
from store.database.engine import Connection, Engine
from store.tokens import grants
from store.tokens.lookup import LONGEST, Found
from store.tokens.models import Grant, Project
from store.tokens.token_text import fingerprint

logger = logging.getLogger(__name__)

FRESH_SECONDS = 0.1
POLL_SECONDS = 0.04
BUSY_SECONDS = 1.0
"""It says how long a question may take until the server counts as away."""
RETRY_SECONDS = 0.25
BATCH = 500
"""Most texts in one question."""
KEPT = 10_000
"""Most grants that are read again after a change, so that they are known if the server goes away."""


class Question:
    """Holds a text that somebody waits for."""

    __slots__ = ("answer", "asked_at", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked_at = time.monotonic()
        self.answer: Future[Found] = Future()


class ServerLookup:
    """Implements :class:`store.tokens.lookup.Lookup`."""

    def __init__(self, engine: Engine, grace_seconds: float) -> None:
        self._engine = engine
        self._grace = grace_seconds
        self._connection: Connection | None = None
        # Written by the thread, each with one assignment, and read by the event loop.
        self._grants: dict[str, Grant] = {}
        self._confirmed = time.monotonic() - FRESH_SECONDS - grace_seconds
        """It says when the last question began that was answered: what was committed before is in memory."""
        self._away: StoreError | None = None
        self._lost_at = 0.0
        """It says when it was last found away."""
        self._projects: dict[str, Project] = {}
        self._revision: int | None = None
        self._to_read_again: deque[str] = deque()
        self._thread: WorkerThread[Question] = WorkerThread(
            "llmproxy-lookup",
            self._work_on,
            batch=BATCH,
            pause=self._pause,
            refuse=lambda question, error: fail(question.answer, error),
            end=self._end,
        )
        self._thread.start()

    # For the event loop

    def find(self, text: str) -> Found | Future[Found]:
        return None if len(text) > LONGEST else self.find_fingerprint(fingerprint(text))

    def find_fingerprint(self, key: str) -> Found | Future[Found]:
        # In this order: what is in memory now is at least as new as what was confirmed.
        age = time.monotonic() - self._confirmed
        grant = self._grants.get(key)
        if grant is not None and age <= FRESH_SECONDS:
            return grant
        away = self._away
        if away is not None:
            return self._known(key, away)
        question = Question(key)
        self._thread.put(question)
        return question.answer

    def away(self) -> StoreError | None:
        return self._away

    @property
    def trouble(self) -> str | None:
        away = self._away
        return None if away is None or self._in_grace() else str(away)

    def ready(self) -> None:
        away = self._away
        if away is not None and not self._in_grace():
            raise StoreUnavailable(str(away)) from away

    def close(self) -> None:
        self._thread.close()

    def _known(self, key: str, away: StoreError) -> Grant:
        """Give what memory has, while the server is away."""
        grant = self._grants.get(key)
        if grant is None or not self._in_grace():
            raise StoreUnavailable(str(away)) from away
        return grant

    def _in_grace(self) -> bool:
        return time.monotonic() - self._confirmed <= self._grace

    # In the thread

    def _pause(self) -> float:
        """Say how long until it is time to ask for the revision."""
        if self._to_read_again:
            return 0.0
        return RETRY_SECONDS if self._away else POLL_SECONDS

    def _work_on(self, asked: list[Question]) -> None:
        asked = self._without_late(asked)
        damaged: dict[str, DamagedRow] = {}
        try:
            damaged = self._ask({question.key for question in asked})
        except Exception as error:
            self._lost(error if isinstance(error, StoreError) else StoreError(repr(error)))
        else:
            self._found()
        self._answer([one for one in asked if one.answer.set_running_or_notify_cancel()], damaged)

    def _without_late(self, asked: list[Question]) -> list[Question]:
        """Answer those that have waited while the server was found away: they wait for no second try."""
        late = [one for one in asked if self._away is not None and one.asked_at < self._lost_at]
        self._answer([one for one in late if one.answer.set_running_or_notify_cancel()], {})
        return [one for one in asked if one not in late]

    def _end(self) -> None:
        self._disconnect()
        self._away = StoreUnavailable(f"{self._engine.where}: the proxy is ending")

    def _ask(self, wanted: set[str]) -> dict[str, DamagedRow]:
        """Bring memory up to date, `wanted` included. Returns those of them that cannot be read."""
        began = time.monotonic()
        if self._connection is None:
            self._connection = self._engine.connect(busy_seconds=BUSY_SECONDS)
            began = time.monotonic()
        revision = grants.revision(self._connection)
        kept = self._grants
        # After it was away: it may be another server by now, with a revision of its own.
        if revision != self._revision or self._away is not None:
            self._to_read_again = deque(dict.fromkeys([*self._to_read_again, *list(kept)[-KEPT:]]))
            kept, self._projects = {}, {}
        if revision != self._revision:
            self._grants = {}
        # What is read from here on is as new as the revision, or newer.
        self._revision = revision
        missing = [key for key in wanted if key not in kept]
        while self._to_read_again and len(missing) < BATCH:
            missing.append(self._to_read_again.popleft())
        found, damaged = grants.load(self._connection, missing, self._projects)
        kept.update(found)
        self._grants, self._confirmed = kept, began
        return damaged

    def _found(self) -> None:
        if self._away is not None:
            logger.warning("llmproxy: the store %s is back", self._engine.where)
            self._away = None

    def _lost(self, error: StoreError) -> None:
        if self._away is None:
            logger.error(
                "llmproxy: the store is away: %s; the %d tokens that are known are served for %g s more",
                error,
                len(self._grants),
                self._grace,
            )
        self._away, self._lost_at = error, time.monotonic()
        self._disconnect()

    def _answer(self, questions: list[Question], damaged: dict[str, DamagedRow]) -> None:
        away = self._away
        for question in questions:
            if question.key in damaged:
                question.answer.set_exception(damaged[question.key])
                continue
            if away is None:
                question.answer.set_result(self._grants.get(question.key))
                continue
            try:
                question.answer.set_result(self._known(question.key, away))
            except StoreUnavailable as error:
                question.answer.set_exception(error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
