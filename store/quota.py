"""Quotas, exact over any number of processes.

A claim is one conditional UPDATE, which SQLite serialises between processes. It is kept cheap in three
ways: only tokens with `max_requests` make claims; a thread of its own makes them, so that the event loop
never waits for the file; and claims that come while a transaction runs are made together in the next one.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from store.engine import Connection, engine_of
from store.errors import StoreError, StoreUnavailable
from store.location import Place

BATCH = 500
"""Most claims in one transaction."""
BUSY_SECONDS = 5.0

CLAIM = (
    "UPDATE tokens SET request_count = request_count + 1 "
    "WHERE id = :id AND (max_requests IS NULL OR request_count < max_requests)"
)
ASK = "SELECT 1 FROM tokens WHERE id = :id AND (max_requests IS NULL OR request_count < max_requests)"


@dataclass(frozen=True, slots=True)
class Claim:
    token_id: str
    consume: bool
    granted: Future[bool] = field(default_factory=Future)


class QuotaClerk:
    """Grants calls against the tokens' quotas. Thread-safe."""

    def __init__(self, place: Place) -> None:
        self._engine = engine_of(place)
        self._connection: Connection | None = None
        self._queue: SimpleQueue[Claim | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="llmproxy-quota", daemon=True)
        self._thread.start()

    def claim(self, token_id: str, *, consume: bool = True) -> Future[bool]:
        """Whether the token has a call left; it is used up unless `consume` is false.

        The future raises StoreUnavailable where the store cannot be written; nothing is used up then.
        """
        claim = Claim(token_id, consume)
        self._queue.put(claim)
        return claim.granted

    def close(self) -> None:
        """Answer the claims that were made, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = [self._queue.get()]
            while len(batch) < BATCH:
                try:
                    batch.append(self._queue.get_nowait())
                except Empty:
                    break
            open_ = None not in batch
            self._answer([claim for claim in batch if claim and claim.granted.set_running_or_notify_cancel()])
        if self._connection is not None:
            self._connection.close()

    def _answer(self, claims: list[Claim]) -> None:
        if not claims:
            return
        try:
            answers = self._decide(claims)
        except StoreError as error:
            self._disconnect()
            for claim in claims:
                claim.granted.set_exception(StoreUnavailable(str(error)))
        else:
            for claim, granted in zip(claims, answers, strict=True):
                claim.granted.set_result(granted)

    def _decide(self, claims: list[Claim]) -> list[bool]:
        connection = self._current()
        # Only a commit makes a claim count for the other processes, so nobody is told before it.
        with connection.transaction():
            return [
                connection.run(CLAIM, id=claim.token_id) == 1
                if claim.consume
                else bool(connection.rows(ASK, id=claim.token_id))
                for claim in claims
            ]

    def _current(self) -> Connection:
        """The connection to the store that is there now, not to one that was replaced."""
        if self._connection is None or not self._connection.is_current():
            self._disconnect()
            self._connection = self._engine.connect(busy_seconds=BUSY_SECONDS)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
