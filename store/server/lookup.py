"""From a token's text to what it grants, where the store is on a server.

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
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from store import grants
from store.engine import Connection, Engine
from store.errors import StoreError, StoreUnavailable
from store.lookup import LONGEST, Found
from store.models import Grant, Project
from store.token_text import fingerprint

logger = logging.getLogger(__name__)

FRESH_SECONDS = 0.1
POLL_SECONDS = 0.04
BUSY_SECONDS = 1.0
"""How long a question may take until the server counts as away."""
RETRY_SECONDS = 0.25
BATCH = 500
"""Most texts in one question."""
KEPT = 10_000
"""Most grants that are read again after a change, so that they are known if the server goes away."""


class Question:
    """A text that somebody waits for."""

    __slots__ = ("answer", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.answer: Future[Found] = Future()


class ServerLookup:
    """See :class:`store.lookup.Lookup`."""

    def __init__(self, engine: Engine, grace_seconds: float) -> None:
        self._engine = engine
        self._grace = grace_seconds
        self._connection: Connection | None = None
        # Written by the thread, each with one assignment, and read by the event loop.
        self._grants: dict[str, Grant] = {}
        self._confirmed = time.monotonic() - FRESH_SECONDS - grace_seconds
        """When the last question began that was answered: what was committed before is in memory."""
        self._away: StoreError | None = None
        self._projects: dict[str, Project] = {}
        self._revision: int | None = None
        self._to_read_again: deque[str] = deque()
        self._queue: SimpleQueue[Question | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="llmproxy-lookup", daemon=True)
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
        self._queue.put(question)
        return question.answer

    def ready(self) -> None:
        away = self._away
        if away is not None and not self._in_grace():
            raise StoreUnavailable(str(away)) from away

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _known(self, key: str, away: StoreError) -> Grant:
        """What memory has, while the server is away."""
        grant = self._grants.get(key)
        if grant is None or not self._in_grace():
            raise StoreUnavailable(str(away)) from away
        return grant

    def _in_grace(self) -> bool:
        return time.monotonic() - self._confirmed <= self._grace

    # In the thread

    def _run(self) -> None:
        open_ = True
        while open_:
            questions = self._next()
            open_ = None not in questions
            asked = [question for question in questions if question is not None]
            try:
                self._ask({question.key for question in asked})
            except Exception as error:
                self._lost(error if isinstance(error, StoreError) else StoreError(repr(error)))
            else:
                self._found()
            self._answer([one for one in asked if one.answer.set_running_or_notify_cancel()])
        self._disconnect()
        self._away = StoreUnavailable(f"{self._engine.where}: the proxy is ending")
        with suppress(Empty):
            while True:
                late = self._queue.get_nowait()
                if late is not None and late.answer.set_running_or_notify_cancel():
                    late.answer.set_exception(self._away)

    def _next(self) -> list[Question | None]:
        """All that waits, or nothing when it is time to ask for the revision."""
        questions: list[Question | None] = []
        with suppress(Empty):
            pause = RETRY_SECONDS if self._away else POLL_SECONDS
            questions.append(self._queue.get(timeout=0.0 if self._to_read_again else pause))
            while len(questions) < BATCH:
                questions.append(self._queue.get_nowait())
        return questions

    def _ask(self, wanted: set[str]) -> None:
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
        kept.update(grants.load(self._connection, missing, self._projects))
        self._grants, self._confirmed = kept, began

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
        self._away = error
        self._disconnect()

    def _answer(self, questions: list[Question]) -> None:
        away = self._away
        for question in questions:
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
