"""Proxies on other machines are told of, on each engine."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.core.times import rfc3339
from store.database.engines import engine_of
from store.tokens.store import TokenStore
from store.upkeep import fleet
from store.upkeep.fleet import FleetReporter, elsewhere, report
from store.upkeep.overview import local_writers, overview


def write_status(spool: Path, writer: str, age: float = 0, **more: object) -> None:
    (spool / "status").mkdir(parents=True, exist_ok=True)
    updated = rfc3339(datetime.now(UTC) - timedelta(seconds=age))
    value = {"writer": writer, "updated_at": updated, "recorded": 3, "healthy": True, "open_calls": 1, **more}
    (spool / "status" / f"{writer}.json").write_text(json.dumps(value))


def test_proxies_with_another_spool_are_told_of(store: TokenStore, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for spool, writer in ((here, "w1"), (there, "w2")):
        write_status(spool, writer)
        for _ in range(2):
            report(store.connection, spool, writer)
    (there / "cursors").mkdir()
    (there / "cursors" / "cloudwatch.json").write_text("{}")
    (there / "dispatchers").mkdir()
    (there / "dispatchers" / "cloudwatch.json").write_text('{"error": "no such log group"}')
    report(store.connection, there, "w2")
    others = elsewhere(store.connection, local_writers(here))
    found = overview(store.location, here, others=others)
    assert [(one["writer"], one["here"], one["alive"]) for one in found["proxies"]] == [
        ("w1", True, False),  # nobody holds its lock
        ("w2", False, True),
    ]
    assert found["totals"]["recorded"] == 6
    (spool_there,) = found["other_spools"]
    assert spool_there["path"] == str(there)
    assert spool_there["consumers"]["cloudwatch"]["error"] == "no such log group"
    assert any("cloudwatch on" in one["message"] for one in found["incidents"])


@pytest.mark.parametrize(("more", "missed"), [({}, True), ({"ended_at": "2026-01-01T00:00:00Z"}, False)])
def test_one_that_is_dead_is_missed_unless_it_said_that_it_ends(
    store: TokenStore, tmp_path: Path, more: dict[str, str], missed: bool
) -> None:
    write_status(tmp_path / "there", "w2", age=90, **more)
    report(store.connection, tmp_path / "there", "w2")
    store.connection.run("UPDATE proxies SET updated_at = :then", then=int(time.time()) - 90)
    (status,) = elsewhere(store.connection, set())
    assert not status.alive
    (tmp_path / "here").mkdir()
    found = overview(store.location, tmp_path / "here", others=[status])["incidents"]
    assert [one["what"] for one in found] == (["proxy"] if missed else [])


def test_a_proxy_reports_and_says_that_it_ends(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "REPORT_SECONDS", 0.05)
    write_status(tmp_path, "w1")
    reporter = FleetReporter(engine_of(store.location), tmp_path, "w1")
    until = time.monotonic() + 20
    while not elsewhere(store.connection, set()) and time.monotonic() < until:
        time.sleep(0.02)
    write_status(tmp_path, "w1", ended_at="2026-01-01T00:00:00Z")
    reporter.close()
    (status,) = elsewhere(store.connection, set())
    assert (status.alive, status.value["ended_at"]) == (False, "2026-01-01T00:00:00Z")


def test_old_rows_go(store: TokenStore, tmp_path: Path) -> None:
    for writer in ("w1", "w2"):
        write_status(tmp_path, writer)
        report(store.connection, tmp_path, writer)
        store.connection.run("UPDATE proxies SET updated_at = 1 WHERE writer = :w", w="w1")
    report(store.connection, tmp_path, "w2")
    assert [one.value["writer"] for one in elsewhere(store.connection, set())] == ["w2"]
