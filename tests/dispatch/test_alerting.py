"""What a dispatcher with a sink for alerts finds by itself, tells, and says when it is over."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatch.alerting import watch as watching
from dispatch.alerting.conditions import SpendRule, fast_spenders, unhealthy
from dispatch.alerting.watch import AlertWatch, WatchSettings
from store.core.event import AlertRecord
from store.core.times import rfc3339
from store.database.location import StoreLocation
from store.spool import SpoolReader, dispatcher_states
from store.spool.status_files import StatusFile
from store.tokens.store import TokenStore
from store.upkeep.fleet import elsewhere, report
from tests.dispatch.conftest import command, environment, usage_event, write
from tests.dispatch.webhook_receiver import SECRET, Receiver
from tests.store.engines import add_row

WRITER = "01a213d5-16f0-72cb-96a6-457a69fc1fa4"
NOON = datetime(2026, 6, 10, 12, 30, tzinfo=UTC)
HOUR = int(NOON.timestamp()) // 3600
HERE = "host:/spool"


@pytest.fixture
def place(tmp_path: Path) -> StoreLocation:
    return StoreLocation.of(tmp_path / "store.db")


@pytest.fixture
def store(place: StoreLocation) -> Iterator[TokenStore]:
    store = TokenStore.open(place)
    yield store
    store.close()


@pytest.fixture
def proxy(spool: Path) -> Iterator[StatusFile]:
    file = StatusFile(spool, WRITER)
    yield file
    file.close()


def status(**more: Any) -> dict[str, Any]:
    now = rfc3339(datetime.now(UTC))
    return {
        "writer": WRITER,
        "pid": 7,
        "host": "web1",
        "updated_at": now,
        "started_at": now,
        "healthy": True,
        **more,
    }


def summaries(place: StoreLocation, spool: Path) -> list[tuple[str, str, str]]:
    return [(one.alert, one.reason, one.subject) for one in unhealthy(place, spool, [], HERE)]


def fail(spool: Path, name: str, error: str | None) -> None:
    """A consumer that says so of itself."""
    (spool / "cursors").mkdir(exist_ok=True, parents=True)
    SpoolReader(spool, name).close()
    dispatcher_states.write(spool, {name: {"error": error, "updated_at": rfc3339(datetime.now(UTC))}})


def test_nothing_is_wrong(place: StoreLocation, spool: Path, store: TokenStore, proxy: StatusFile) -> None:
    proxy.write(status())
    assert summaries(place, spool) == []


def test_troubles_of_proxies_and_dispatchers(place: StoreLocation, spool: Path, proxy: StatusFile) -> None:
    proxy.write(status(healthy=False, store_trouble="SECRET answer", circuits={"api.openai.com": {}}))
    write(spool, [usage_event(1, datetime.now(UTC) - timedelta(minutes=10))])
    fail(spool, "cloudwatch", "SECRET answer of CloudWatch")
    fail(spool, "file", None)
    found = list(unhealthy(place, spool, [], HERE))
    assert [(one.alert, one.reason, one.subject) for one in found] == [
        ("proxy_unhealthy", "store_unavailable", WRITER),
        ("proxy_unhealthy", "spool_unavailable", WRITER),
        ("dispatcher_failing", "sink_failing", "cloudwatch"),
        ("dispatcher_failing", "sink_behind", "file"),
    ]
    assert "SECRET" not in "".join(one.summary for one in found)
    assert "SECRET" in str(found[2].error)
    assert found[0].summary.endswith(f"cannot read its store, and refuses new calls ({HERE})")


def test_a_killed_proxy_is_missed_until_another_takes_its_place(place: StoreLocation, spool: Path) -> None:
    file = StatusFile(spool, WRITER)
    file.write(status())
    file.close()  # without a last word
    assert summaries(place, spool) == [("proxy_unhealthy", "proxy_missing", WRITER)]
    later = rfc3339(datetime.now(UTC) + timedelta(seconds=5))
    other = StatusFile(spool, "w2")
    try:
        other.write(status(writer="w2", started_at="2026-01-01T00:00:00.000Z"))
        assert summaries(place, spool) != [], "one that was there before is no replacement"
        other.write(status(writer="w2", started_at=later))
        assert summaries(place, spool) == []
    finally:
        other.close()


def test_alike_troubles_of_one_spool_are_one_condition(place: StoreLocation, spool: Path) -> None:
    files = [StatusFile(spool, f"w{number}") for number in range(4)]
    try:
        for number, file in enumerate(files):
            file.write(status(writer=f"w{number}", store_trouble="away"))
        (found,) = unhealthy(place, spool, [], HERE)
        assert (
            "proxy w0 (pid 7) cannot read its store, and refuses new calls, and so with 3 more"
            in found.summary
        )
    finally:
        for file in files:
            file.close()


def test_another_spool_on_the_store(
    place: StoreLocation, spool: Path, store: TokenStore, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    file = StatusFile(there, WRITER)
    file.write(status())
    write(there, [usage_event(1)])
    fail(there, "cloudwatch", "AccessDenied")
    report(store.connection, there, WRITER)
    file.close()
    spool.mkdir()
    others = elsewhere(store.connection, set())
    (found,) = unhealthy(place, spool, others, HERE)
    assert (found.reason, found.subject) == ("sink_failing", "cloudwatch")
    assert found.place.endswith(f":{there}")
    store.connection.run("UPDATE proxies SET updated_at = :then", then=int(time.time()) - 7200)
    (found,) = [
        one
        for one in unhealthy(place, spool, elsewhere(store.connection, set()), HERE)
        if one.reason == "proxy_missing"
    ]
    assert found.subject == WRITER


def spend(store: TokenStore, project: str, hour: int, usd: float) -> None:
    key = {
        "hour": hour,
        "project_id": project,
        "token_id": "t",
        "user_id": "",
        "model": "m",
        "endpoint": "chat",
    }
    add_row(store.connection, "usage_hours", key, {"calls": 1, "nano_usd": int(usd * 10**9)})


def test_who_spends_faster_than_the_week_before(store: TokenStore) -> None:
    names = ("steady", "fast", "small", "new", "idle")
    ids = {name: store.create_project(name, "sk-real-key-0000").id for name in names}
    for name in names:
        if name != "new":
            spend(store, ids[name], HOUR - 300, 1)
    for back, usd in (
        (0, 10.0),
        (5, 20.0),
        (6, 1000.0),
    ):  # 30 dollars in six hours; what is older does not count
        spend(store, ids["fast"], HOUR - back, usd)
        spend(store, ids["steady"], HOUR - back, usd)
        spend(store, ids["new"], HOUR - back, usd)
    for back, usd in ((0, 3.0), (5, 6.5), (6, 1000.0), (-1, 1000.0)):
        spend(store, ids["fast"], HOUR - 168 - back, usd)
        spend(store, ids["steady"], HOUR - 168 - back, usd * 1.06)
    spend(store, ids["small"], HOUR, 9.99)
    spend(store, ids["idle"], HOUR, 10)
    found = {one.project: one for one in fast_spenders(store.connection, SpendRule(), NOON)}
    assert found.keys() == {(ids["fast"], "fast"), (ids["idle"], "idle")}
    fast = found[ids["fast"], "fast"]
    assert fast.spend == (6, 30.0, 9.5)
    assert fast.summary == (
        "Project fast has spent $30.00 in 6 h; in the same hours of the week before it was $9.50"
    )
    assert list(fast_spenders(store.connection, SpendRule(factor=0), NOON)) == []
    assert [one.project for one in fast_spenders(store.connection, SpendRule(minimum=20), NOON)] == [
        (ids["fast"], "fast")
    ]


class Watched:
    """A watch that looks when it is told to."""

    def __init__(self, place: StoreLocation, spool: Path, **more: Any) -> None:
        self.spool, self.now = spool, int(time.time())
        self.watch = AlertWatch(place, spool, WatchSettings(after=60), **more)

    def look(self, *steps: int) -> list[tuple[Any, Any, Any]]:
        """Look after each step of seconds; what is in the spool then that was not before."""
        before = {record["event_id"] for record in self.told()}
        for seconds in steps:
            self.now += seconds
            self.watch.look(self.now)
        return [
            (one["alert"], one["state"], one["subject"])
            for one in self.told()
            if one["event_id"] not in before
        ]

    def told(self) -> list[dict[str, Any]]:
        lines = [
            line for path in sorted(self.spool.glob("*.jsonl")) for line in path.read_text().splitlines()
        ]
        return [one for one in map(json.loads, lines) if one["type"] == "llm_proxy_alert"]


BEGUN = ("dispatcher_failing", "firing", "cloudwatch")
OVER = ("dispatcher_failing", "resolved", "cloudwatch")


def test_alerts_go_into_the_spool(place: StoreLocation, spool: Path, store: TokenStore) -> None:
    watched = Watched(place, spool)
    fail(spool, "cloudwatch", "AccessDenied")
    assert watched.look(0, 15, 30) == []
    assert watched.look(15, 15) == [BEGUN]
    assert Watched(place, spool).look(0, 15) == [], "another process knows"
    fail(spool, "cloudwatch", None)
    assert watched.look(15, 61) == [OVER]
    assert watched.look(15, 15) == []


def test_while_the_store_is_away_what_the_spool_shows_is_told(
    place: StoreLocation, spool: Path, store: TokenStore
) -> None:
    assert place.path is not None
    watched = Watched(place, spool)
    fail(spool, "cloudwatch", "AccessDenied")
    assert watched.look(0) == []
    aside = place.path.with_suffix(".aside")
    place.path.rename(aside)
    found = watched.look(61, 15)
    assert found == [BEGUN]
    assert not place.path.exists(), "none is made"
    aside.rename(place.path)
    assert watched.look(15, 15) == []
    fail(spool, "cloudwatch", None)
    assert watched.look(15, 61) == [OVER]


def test_what_the_disk_cannot_hold_is_sent_at_once(
    place: StoreLocation, spool: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[AlertRecord] = []
    taken = False

    def send(record: AlertRecord) -> bool:
        sent.append(record)
        return taken

    def full(_: Path) -> Any:
        raise OSError(28, "No space left on device")

    watched = Watched(place, spool, send=send)
    fail(spool, "cloudwatch", "AccessDenied")
    monkeypatch.setattr(watching, "SpoolWriter", full)
    watched.look(0, 61, 15)
    assert [record.reason for record in sent] == ["sink_failing"]
    taken = True
    watched.look(61, 15, 61)
    assert [record.event_id for record in sent] == [sent[0].event_id] * 2, (
        "until it is taken, with the same id"
    )


def test_from_a_bus_alerts_are_sent_at_once(
    place: StoreLocation, spool: Path, store: TokenStore, tmp_path: Path
) -> None:
    """There is no spool here then; what others on the store say is told."""
    there = tmp_path / "there"
    file = StatusFile(there, WRITER)
    file.write(status(healthy=False))
    report(store.connection, there, WRITER)
    file.close()
    sent: list[AlertRecord] = []

    def send(record: AlertRecord) -> bool:
        sent.append(record)
        return True

    watched = Watched(place, spool, send=send, writes=False)
    assert watched.look(0, 61, 15) == []
    assert [(record.reason, record.subject) for record in sent] == [("spool_unavailable", WRITER)]
    assert not spool.exists()


def test_one_of_two_dispatchers_on_a_spool_looks(
    place: StoreLocation, spool: Path, store: TokenStore
) -> None:
    spool.mkdir()
    first, second = (AlertWatch(place, spool, WatchSettings()) for _ in range(2))
    assert [first._is_mine(), second._is_mine(), first._is_mine()] == [True, False, True]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    with found.running():
        yield found


@pytest.mark.slow
def test_a_dispatcher_tells_of_another_that_fails(
    spool: Path, receiver: Receiver, place: StoreLocation, store: TokenStore, tmp_path: Path
) -> None:
    """From the failing sink, through store and spool, to a receiver; and that it is over again."""
    write(spool, [usage_event(1)])
    output = tmp_path / "missing" / "events.jsonl"
    arguments = [
        *("--service", "webhook,file", "--follow", "--alert-after", "0"),
        *("--webhook-url", receiver.url + receiver.path, "--webhook-secret", "env:HOOK_SECRET"),
        *("--output", str(output)),
    ]
    env = environment(HOOK_SECRET=SECRET, LLMPROXY_STORE=str(place.path))
    (tmp_path / "missing").write_text("no folder")
    # As the command, but for the time between two looks, and between two tries.
    quick = (
        "import dispatch.alerting.watch as watch, dispatch.delivery as delivery; watch.SECONDS = 0.3; "
        "delivery.LONGEST_SECONDS = 0.5; from scripts.cli import main; main()"
    )
    python, _, _, *rest = command(spool, *arguments)
    process = subprocess.Popen([python, "-c", quick, *rest], env=env, stderr=subprocess.PIPE)
    try:
        assert _types(receiver, 1) == ["dispatcher.failing"]
        (failing,) = receiver.taken
        assert failing["data"]["subject"] == "file"
        assert "missing" not in json.dumps(failing), "what the sink said stays here"
        (tmp_path / "missing").unlink()
        (tmp_path / "missing").mkdir()
        assert _types(receiver, 2) == ["dispatcher.failing", "dispatcher.recovered"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _types(receiver: Receiver, number: int) -> list[str]:
    deadline = time.monotonic() + 90
    while len(receiver.taken) < number and time.monotonic() < deadline:
        time.sleep(0.05)
    return [each["type"] for each in receiver.taken]
