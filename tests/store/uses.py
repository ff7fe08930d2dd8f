"""Calls of tokens, for tests of what is known of their use."""

from __future__ import annotations

from datetime import datetime

from uuid_utils import uuid7

from store.database.engines import engine_of
from store.ledger import Finished, LedgerWorker
from store.tokens.store import TokenStore


def use(store: TokenStore, token_id: str, at: datetime, address: str | None = None, calls: int = 1) -> None:
    """The token has made calls."""
    worker = LedgerWorker(engine_of(store.location))
    finished = [
        Finished(str(uuid7()), token_id, "p", at.timestamp(), "ok", "chat", address=address)
        for _ in range(calls)
    ]
    worker.finish(finished, "w").result(30)
    worker.close()
