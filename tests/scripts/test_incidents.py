"""What `status` and `doctor` say when something is wrong: it comes first, and the exit code is 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from dispatch import delivery
from dispatch.delivery import Totals
from dispatch.state import StateReporter
from scripts.cli import main
from store.core.times import rfc3339
from store.spool import SpoolReader
from store.spool.status_files import StatusFile
from store.tokens.store import TokenStore
from tests.dispatch.conftest import usage_event, write

WRITER = "01a213d5-16f0-72cb-96a6-457a69fc1fa4"


class Place(NamedTuple):
    store: Path
    spool: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(
            main, [*("--store", str(self.store)), *("--spool", str(self.spool)), *arguments]
        )

    def incidents(self) -> tuple[int, list[tuple[str, bool]]]:
        done = self.run("status", "--json")
        return done.exit_code, [(one["what"], one["severe"]) for one in json.loads(done.stdout)["incidents"]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "store.db", tmp_path / "spool")
    TokenStore.open(place.store).close()
    place.spool.mkdir()
    return place


@pytest.fixture
def proxy(place: Place) -> Iterator[StatusFile]:
    """The file of a proxy that lives, as the test has it."""
    file = StatusFile(place.spool, WRITER)
    yield file
    file.close()


def said(place: Place, *, ago: float = 0, **more: Any) -> dict[str, Any]:
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    options = {"llm_store": str(place.store)}
    return {
        "writer": WRITER,
        "pid": 7,
        "updated_at": rfc3339(moment),
        "healthy": True,
        "options": options,
        **more,
    }


def test_all_is_well(place: Place, proxy: StatusFile) -> None:
    proxy.write(said(place))
    assert place.incidents() == (0, [])


def test_a_proxy_that_does_not_report_any_more_is_stale(place: Place, proxy: StatusFile) -> None:
    proxy.write(said(place, ago=45))
    assert place.incidents() == (1, [("proxy", True)])
    first, *rest = place.run("status").stdout.splitlines()
    assert first.startswith(f"PROXY: proxy {WRITER} (pid 7) has not reported for 45 s")
    assert " stale " in rest[1]
    assert " 45 s ago " in rest[1]


def test_one_that_has_ended_is_not(place: Place) -> None:
    file = StatusFile(place.spool, WRITER)
    file.write(said(place, ago=4500, ended_at="2026-11-25T17:50:58.998Z"))
    file.close()
    assert place.incidents() == (0, [])


def test_one_that_was_killed_is_missed_until_another_has_begun(place: Place) -> None:
    file = StatusFile(place.spool, WRITER)
    file.write(said(place, ago=45))
    file.close()
    assert place.incidents() == (0, [("proxy", False)])
    assert "has not reported for 45 s, and did not say that it ends" in place.run("status").stdout
    other = StatusFile(place.spool, "w2")
    try:
        other.write(said(place, writer="w2", started_at=rfc3339(datetime.now(UTC))))
        assert place.incidents() == (0, [])
    finally:
        other.close()


def test_one_that_was_killed_hours_ago_is_not_missed(place: Place) -> None:
    file = StatusFile(place.spool, WRITER)
    file.write(said(place, ago=4500))
    file.close()
    assert place.incidents() == (0, [])


def test_a_proxy_that_cannot_write(place: Place, proxy: StatusFile) -> None:
    proxy.write(said(place, healthy=False))
    assert place.incidents() == (1, [("proxy", True)])


def test_a_missing_store_comes_first_and_nobody_advises_a_new_one(place: Place, proxy: StatusFile) -> None:
    proxy.write(said(place, healthy=False))
    place.store.unlink()
    assert place.incidents() == (1, [("store", True), ("proxy", True)])
    for verb in (["status"], ["doctor"], ["token", "list"], ["run", "--", "true"]):
        done = place.run(*verb)
        assert done.exit_code == 1, verb
        assert str(place.store) in done.output
        assert "project create" not in done.output, verb
    assert not place.store.exists()


def test_a_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(place.spool)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=4096))
    code, found = place.incidents()
    assert (code, {what for what, _ in found}) == (1, {"disk"})
    assert "is full: 4,096 bytes are free" in place.run("status").stdout.splitlines()[0]


def test_a_dispatcher_that_fails_and_one_that_is_behind(place: Place) -> None:
    write(place.spool, [usage_event(1, datetime.now(UTC) - timedelta(minutes=10))])
    for name in ("cloudwatch", "file"):
        with SpoolReader(place.spool, name) as reader:
            reader.read()
    totals = {"cloudwatch": Totals(error="AccessDenied"), "file": Totals()}
    StateReporter(place.spool, {}).report(totals, ended=True)
    assert place.incidents() == (1, [("dispatcher", True), ("dispatcher", False)])
    shown = json.loads(place.run("status", "--json").stdout)["spool"]["consumers"]
    assert (shown["cloudwatch"]["error"], shown["file"]["error"]) == ("AccessDenied", None)
    assert shown["file"]["lag_seconds"] > 590
    first = place.run("status").stdout.splitlines()[0]
    assert first.startswith("DISPATCHER: cloudwatch fails (60")
    assert "AccessDenied" in first


def test_a_dispatcher_that_could_not_be_reached_says_so_afterwards(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BASE_SECONDS", 0.001)  # seven tries
    write(place.spool, [usage_event(1)])
    done = place.run(
        *(
            "dispatch",
            "--service",
            "helicone",
            "--helicone-api-key",
            "key",
            "--helicone-endpoint",
            "http://127.0.0.1:9",
        )
    )
    assert done.exit_code == 1
    shown = json.loads(place.run("status", "--json").stdout)["spool"]["consumers"]["helicone"]
    assert "127.0.0.1" in shown["error"] or "refused" in shown["error"]


def test_an_upstream_that_fails(place: Place, proxy: StatusFile) -> None:
    proxy.write(said(place, circuits={"api.openai.com": {"state": "open", "seconds": 3}}))
    assert place.incidents() == (0, [("upstream", False)])
    assert "api.openai.com fails" in place.run("status").output
