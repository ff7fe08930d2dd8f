"""Calls on their way from the spool to the store, also while that is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from addons.checks.history import History
from addons.recording import settling
from addons.recording.event_builder import written_event
from addons.recording.settling import Recorded, Settling
from store.database.engines import engine_of
from store.ledger import LedgerWorker
from store.ledger import worker as ledger_worker
from store.ledger.catch_up import catch_up
from store.spool import SpoolWriter, usage_checkpoint
from store.spool.usage_checkpoint import UsageCheckpoint
from store.tokens.store import TokenStore
from store.usage.reports import Usage, usage
from tests.addons.recording.test_worker import exchange
from tests.live.harness import wait_for


class Proxy:
    """What a proxy has of all this."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.store = folder / "spool", folder / "store.db"
        TokenStore.open(self.store).close()
        self.worker = LedgerWorker(engine_of(self.store))
        self.writer = SpoolWriter(self.spool)
        mark = UsageCheckpoint(self.spool, self.writer.writer)
        self.settling = Settling(self.worker, mark, self.writer.writer, History())

    def call(self) -> None:
        made = exchange()
        event, line = written_event(made)
        self.settling.recorded([Recorded(made, event, line)], self.writer.append([event]))

    def close(self) -> None:
        self.writer.close()
        self.worker.close()
        self.settling.close()

    def take_the_store_away(self) -> Path:
        """Once it has counted a call. Where it is now."""
        self.call()
        wait_for(lambda: self.settling.waiting == 0, "counted")
        return self.store.rename(self.store.with_suffix(".away"))

    def calls(self) -> int:
        connection = engine_of(self.store).connect()
        rows = list(usage(connection, Usage()))
        connection.close()
        return sum(row["calls"] for row in rows)


def test_a_proxy_that_ends_well_leaves_nothing_to_count(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    for _ in range(3):
        proxy.call()
    proxy.close()
    assert proxy.calls() == 3
    assert usage_checkpoint.behind(proxy.spool) == {}


def test_calls_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    away = proxy.take_the_store_away()
    proxy.call()
    proxy.call()
    assert proxy.settling.waiting == 2
    away.rename(proxy.store)
    wait_for(lambda: proxy.settling.waiting == 0, "counted")
    proxy.close()
    assert proxy.calls() == 3


def test_what_the_store_could_not_take_at_the_end_is_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_worker, "CLOSE_SECONDS", 0.0)
    proxy = Proxy(tmp_path)
    away = proxy.take_the_store_away()
    proxy.call()
    proxy.close()
    assert usage_checkpoint.behind(proxy.spool) == {proxy.writer.writer: 0}
    away.rename(proxy.store)
    assert proxy.calls() == 1
    later = Proxy(tmp_path)
    assert catch_up(later.spool, engine_of(later.store), later.worker) == 1
    later.close()
    assert later.calls() == 2


def test_what_would_wait_too_long_in_memory_waits_in_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MOST_WAITING", 2)
    proxy = Proxy(tmp_path)
    away = proxy.take_the_store_away()
    for _ in range(6):
        proxy.call()
    proxy.settling.catch_up(proxy.spool)
    assert proxy.settling.waiting == 6
    away.rename(proxy.store)
    wait_for(lambda: proxy.settling.waiting == 4, "the two that waited in memory are counted")
    proxy.call()
    assert proxy.settling.waiting == 5, "it comes after those before it"
    proxy.settling.catch_up(proxy.spool)
    assert (proxy.settling.waiting, proxy.calls()) == (0, 8)
    proxy.call()
    wait_for(lambda: proxy.settling.waiting == 0, "counted")
    proxy.close()
    assert proxy.calls() == 9
    assert usage_checkpoint.behind(proxy.spool) == {}
