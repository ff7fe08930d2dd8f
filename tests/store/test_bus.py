"""The bus loses nothing: not when Redis is killed or forgets, not when a consumer dies with a batch."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

redis = pytest.importorskip("redis", reason="redis-py is not installed (llmproxy[redis])")

from store.bus import BadBus, BusReader, Forwarder, Link  # noqa: E402
from store.bus.link import shown  # noqa: E402
from store.spool import SpoolReader, SpoolWriter  # noqa: E402
from tests.live.harness import wait_for  # noqa: E402

pytestmark = pytest.mark.slow  # in sum

SHARED = os.environ.get("LLMPROXY_TEST_REDIS", "redis://127.0.0.1:6379/0")


def unless_ci(reason: str) -> None:
    if os.environ.get("LLMPROXY_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Server:
    """A Redis of our own, which may be killed."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--daemonize", "no", *settings),
        ]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

        def answers() -> bool:
            with (
                contextlib.suppress(redis.RedisError),
                contextlib.closing(redis.Redis(port=self.port)) as client,
            ):
                return bool(client.ping())
            return False

        wait_for(answers, "redis-server answers")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Server]:
    """Keeps nothing across a restart."""
    yield from running(tmp_path, "--appendonly", "no")


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Server]:
    yield from running(tmp_path, "--appendonly", "yes", "--appendfsync", "always")


def running(folder: Path, *settings: str) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        unless_ci("there is no redis-server on PATH")
    server = Server(folder, *settings)
    yield server
    server.kill()


@pytest.fixture
def bus() -> Iterator[str]:
    """A stream of our own on the machine's Redis."""
    stream = f"llmproxy:test:{uuid7()}"
    url = f"{SHARED}?stream={stream}"
    client = Link(url).client
    try:
        client.ping()
    except redis.RedisError:
        unless_ci(f"no Redis answers at {SHARED}")
    yield url
    client.delete(stream, *client.keys(f"{stream}:*"))
    client.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@contextlib.contextmanager
def forwarding(spool: Path, url: str, **settings: float) -> Iterator[Forwarder]:
    forwarder = Forwarder(spool, Link(url), **settings)
    try:
        yield forwarder
    finally:
        forwarder.close()


def numbers(reader: BusReader, *, commit: bool = True, **limits: int) -> list[int]:
    batch = reader.read(**limits)
    if commit and batch:
        reader.commit(batch)
    return [record.value["n"] for record in batch.records if "n" in record.value]


def write(writer: SpoolWriter, first: int, last: int) -> None:
    writer.append([{"n": number} for number in range(first, last)])


def drain(reader: BusReader, wanted: int, found: list[int] | None = None) -> list[int]:
    """Read until `wanted` different numbers are there."""
    found = [] if found is None else found

    def enough() -> bool:
        with contextlib.suppress(OSError):
            found.extend(numbers(reader))
        return len(set(found)) >= wanted

    wait_for(enough, f"{wanted} numbers", 40)
    return found


def test_from_spool_to_consumer_in_order(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 2500)
    with forwarding(spool, bus, keep_seconds=0.1) as forwarder, BusReader(Link(bus), "file") as reader:
        found = drain(reader, 2500)
        assert found == list(range(2500))
        wait_for(lambda: forwarder.acknowledged == 2500, "the spool lets go")
        wait_for(lambda: reader.backlog() == 0, "no backlog")
        link = Link(bus)
        wait_for(lambda: link.client.xlen(link.stream) < 200, "trimmed, but for a node of the stream")
        write(writer, 2500, 2501)
        assert drain(reader, 1) == [2500]
    writer.close()
    with SpoolReader(spool, "bus") as rest:
        assert [record.value["type"] for record in rest.read().records] in ([], ["llm_proxy_writer"])


def test_every_group_gets_all_and_consumers_of_one_share(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 100)
    with (
        forwarding(spool, bus) as forwarder,
        BusReader(Link(bus), "one") as first,
        BusReader(Link(bus), "one") as second,
        BusReader(Link(bus), "two") as other,
    ):
        second._name += "-b"
        wait_for(lambda: forwarder.published == 100, "published")
        halves = (numbers(first, max_events=50), numbers(second, max_events=50))
        assert sorted(halves[0] + halves[1]) == list(range(100))
        assert all(halves)
        link = Link(bus)
        wait_for(lambda: link.done_before() is not None, "groups")
        assert forwarder.acknowledged == 0 or other.backlog() == 0, "the slowest group decides"
        assert drain(other, 100) == list(range(100))
        wait_for(lambda: forwarder.acknowledged == 100, "acknowledged by all")
    writer.close()


def test_what_is_not_committed_comes_again_and_reading_ahead_goes_on(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 30)
    with forwarding(spool, bus), BusReader(Link(bus), "file") as reader:
        batch = wait_for(lambda: reader.read(max_events=10), "a batch")
        again = reader.read(max_events=10)
        assert again.lines == batch.lines
        ahead = wait_for(lambda: reader.read(max_events=10, after=batch.offsets), "the next batch")
        assert not set(ahead.offsets) & set(batch.offsets)
        reader.commit(batch)
        reader.commit(ahead)
        assert drain(reader, 10)[:10] == list(range(20, 30))
    writer.close()


def test_a_consumer_that_dies_with_a_batch(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 20)
    with forwarding(spool, bus), BusReader(Link(bus), "file", min_idle=0.3) as survivor:
        dead = BusReader(Link(bus), "file", min_idle=0.3)
        dead._name += "-dead"
        wait_for(lambda: numbers(dead, commit=False, max_events=10), "it holds something")
        dead._pulse.close()  # killed: it says no more that it is at work
        assert sorted(drain(survivor, 20)) == list(range(20))
        dead.close()
    writer.close()


def test_a_slow_backend_keeps_what_it_holds(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 5)
    with (
        forwarding(spool, bus),
        BusReader(Link(bus), "file", min_idle=0.3) as slow,
        BusReader(Link(bus), "file", min_idle=0.3) as idle,
    ):
        idle._name += "-b"
        batch = wait_for(slow.read, "a batch")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert numbers(idle) == []
        slow.commit(batch)
    writer.close()


def test_what_no_consumer_survives_goes_to_the_dead_letters(spool: Path, bus: str) -> None:
    writer = SpoolWriter(spool)
    write(writer, 0, 1)
    link = Link(bus)
    handed_out = 0
    with forwarding(spool, bus):
        while not link.client.xlen(f"{link.stream}:dead:file"):
            reader = BusReader(Link(bus), "file", min_idle=0.05, max_deliveries=3)
            until = time.monotonic() + 0.3
            while time.monotonic() < until and not reader._held:
                handed_out += bool(numbers(reader, commit=False))
            reader.close()  # it dies with what it holds
            assert handed_out <= 3
    assert handed_out == 3
    with BusReader(Link(bus), "file") as reader:
        assert reader.backlog() == 0
    writer.close()


def test_lines_that_are_no_records_go_to_the_dead_letters(spool: Path, bus: str) -> None:
    link = Link(bus)
    link.client.xadd(link.stream, {"line": "no json"})
    link.client.xadd(link.stream, {"line": '{"n": 1}'})
    with BusReader(Link(bus), "file") as reader:
        assert numbers(reader) == [1]
        assert link.client.xlen(f"{link.stream}:dead:file") == 1
        assert reader.backlog() == 0


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [False, True])
def test_redis_is_killed_and_restarted_mid_run(
    spool: Path, tmp_path: Path, keeps: bool, request: Any
) -> None:
    """Whether or not it remembers anything: what is not acknowledged is published again."""
    server: Server = request.getfixturevalue("durable" if keeps else "forgetful")
    writer = SpoolWriter(spool)
    written, stop = [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            write(writer, written[0], written[0] + 20)
            written[0] += 20
            stop.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    found: list[int] = []
    try:
        with forwarding(spool, server.url), BusReader(Link(server.url), "file") as reader:
            for _ in range(3):
                drain(reader, len(set(found)) + 100, found)
                reader.read(max_events=30)  # held when it is killed
                server.kill()
                server.start()
            stop.set()
            thread.join()
            drain(reader, written[0], found)
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert set(found) == set(range(written[0]))
    assert max(Counter(found).values()) <= 8


def test_redis_that_is_away_costs_nothing_but_time(spool: Path, forgetful: Server) -> None:
    writer = SpoolWriter(spool)
    forgetful.kill()
    with forwarding(spool, forgetful.url):
        write(writer, 0, 10)
        with pytest.raises(OSError, match="Redis"), BusReader(Link(forgetful.url), "file") as reader:
            reader.read()
        forgetful.start()
        with BusReader(Link(forgetful.url), "file") as reader:
            assert drain(reader, 10) == list(range(10))
    writer.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x", "write one of redis://"),
        ("redis://u:secret@host:port/0", "no host and port that can be read"),
        ("redis+sentinel://h:1", "name the service"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(BadBus, match=said) as caught:
        Link(url)
    assert "secret" not in str(caught.value)


def test_no_password_is_shown() -> None:
    assert shown("rediss://user:secret@host:6380/1?stream=x") == "rediss://host:6380/1"
    assert Link("rediss://user:secret@host:6380/1?stream=x&ssl_cert_reqs=none").stream == "x"
    assert Link("redis+sentinel://:secret@a:1,b:2/main/3").shown == "redis+sentinel://a:1,b:2/main/3"
