"""What is gone from the stream before every sink has confirmed it is published again, whoever removed it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

redis = pytest.importorskip("redis", reason="redis-py is not installed (llmproxy[redis])")

from store.bus import BusReader, Forwarder, Link  # noqa: E402
from store.spool import SpoolWriter, cursor  # noqa: E402
from tests.live.harness import wait_for  # noqa: E402
from tests.store.test_bus import (  # noqa: E402
    Server,
    bus,  # noqa: F401 - a fixture
    drain,
    forgetful,  # noqa: F401 - a fixture
    forwarding,
    numbers,
    spool,  # noqa: F401 - a fixture
    write,
)

pytestmark = [pytest.mark.slow, pytest.mark.once]  # in sum


def trim(link: Link) -> None:
    link.client.xtrim(link.stream, maxlen=10, approximate=False)


def delete(link: Link) -> None:
    link.client.delete(link.stream)


def flush(link: Link) -> None:
    link.client.flushall()


def delete_some(link: Link) -> None:
    """As somebody who cleans up by hand: entries from the middle, up to the last one."""
    entries = [entry for entry, _ in link.client.xrange(link.stream)]
    link.client.xdel(link.stream, *entries[5:20], entries[-1])


REMOVALS = [trim, delete, flush, delete_some]


@contextlib.contextmanager
def published(
    folder: Path, url: str, count: int, **settings: float
) -> Iterator[tuple[Forwarder, SpoolWriter]]:
    writer = SpoolWriter(folder)
    write(writer, 0, count)
    with forwarding(folder, url, **settings) as forwarder:
        wait_for(lambda: forwarder.published >= count, "published")
        yield forwarder, writer
    writer.close()


def released(forwarder: Forwarder, count: int) -> None:
    wait_for(lambda: forwarder.acknowledged >= count, "the spool lets go")


@pytest.mark.parametrize("remove", REMOVALS)
def test_entries_that_nobody_has_read(spool: Path, forgetful: Server, remove: Callable[[Link], Any]) -> None:  # noqa: F811
    """The dispatcher has read some, is down, and comes back."""
    link = Link(forgetful.url)
    with published(spool, forgetful.url, 40) as (forwarder, writer):
        with BusReader(Link(forgetful.url), "file") as reader:
            found = numbers(reader, max_events=10)
        assert len(found) == 10
        remove(link)
        write(writer, 40, 50)  # the stream, and the group's position, go on
        with BusReader(Link(forgetful.url), "file") as reader:
            drain(reader, 50, found)
            assert set(found) == set(range(50))
            released(forwarder, 50)
    link.close()


@pytest.mark.parametrize("remove", REMOVALS)
def test_entries_that_a_consumer_held_when_it_died(
    spool: Path,  # noqa: F811
    forgetful: Server,  # noqa: F811
    remove: Callable[[Link], Any],
) -> None:
    link = Link(forgetful.url)
    with published(spool, forgetful.url, 40) as (forwarder, writer):
        dead = BusReader(Link(forgetful.url), "file", min_idle=0.3)
        dead._name += "-dead"
        dead._pulse.close()  # killed: it says no more that it is at work
        assert len(numbers(dead, commit=False, max_events=30)) == 30
        remove(link)
        dead.close()
        write(writer, 40, 50)
        with BusReader(Link(forgetful.url), "file", min_idle=0.3) as survivor:
            assert set(drain(survivor, 50)) == set(range(50))
            released(forwarder, 50)
    link.close()


@pytest.mark.parametrize("remove", [delete, flush])
def test_a_group_whose_dispatcher_is_down_is_kept(
    spool: Path,  # noqa: F811
    forgetful: Server,  # noqa: F811
    remove: Callable[[Link], Any],
) -> None:
    """The other sink's dispatcher makes the stream again; what comes then is kept for both."""
    link = Link(forgetful.url)
    with published(spool, forgetful.url, 20) as (forwarder, writer):
        with BusReader(Link(forgetful.url), "down") as down, BusReader(Link(forgetful.url), "up") as up:
            drain(down, 20)
            drain(up, 20)
            released(forwarder, 20)
        with BusReader(Link(forgetful.url), "up") as up:
            remove(link)
            write(writer, 20, 40)
            assert set(drain(up, 20)) == set(range(20, 40))
            wait_for(lambda: len(link.groups()) == 2, "the group is made again")
            assert forwarder.acknowledged == 20, "one sink has not confirmed them"
            with BusReader(Link(forgetful.url), "down") as down:
                assert set(drain(down, 20)) == set(range(20, 40))
            released(forwarder, 40)
    link.close()


def test_a_group_that_is_destroyed_stays_away(spool: Path, bus: str) -> None:  # noqa: F811
    link = Link(bus)
    with published(spool, bus, 10) as (forwarder, writer):
        for sink in ("old", "new"):
            link.create_group(sink)
        with BusReader(Link(bus), "new") as reader:
            drain(reader, 10)
            assert forwarder.acknowledged == 0
            link.client.xgroup_destroy(link.stream, "old")
            released(forwarder, 10)
            write(writer, 10, 20)
            drain(reader, 10)
            released(forwarder, 20)
        assert [group["name"] for group in link.groups()] == [b"new"]
        assert forwarder.published_again == 0
    link.close()


def test_two_forwarders_trim_and_publish_nothing_twice(spool: Path, tmp_path: Path, bus: str) -> None:  # noqa: F811
    other = tmp_path / "other"
    with (
        published(spool, bus, 200, keep_seconds=1.5) as (first, writer),
        published(other, bus, 200, keep_seconds=1.5) as (second, more),
        BusReader(Link(bus), "file") as reader,
    ):
        found = numbers(reader, max_events=250)
        write(writer, 200, 400)
        write(more, 200, 400)
        wait_for(lambda: first.published + second.published == 800, "published")
        link = Link(bus)
        wait_for(lambda: link.client.xlen(link.stream) < 800, "what is acknowledged of a batch is trimmed")
        drain_all = lambda: found.extend(numbers(reader)) or len(found) >= 800  # noqa: E731
        wait_for(drain_all, "all are read")
        released(first, 400)
        released(second, 400)
        assert first.published_again == second.published_again == 0
        assert sorted(found) == sorted([*range(400), *range(400)])
        link.close()


def test_the_cursor_stands_still_until_it_is_proven(spool: Path, bus: str) -> None:  # noqa: F811
    link = Link(bus)
    with published(spool, bus, 40):
        with BusReader(Link(bus), "file") as reader:
            numbers(reader, max_events=10)
        delete(link)
        assert sum(cursor.load(cursor.path_of(spool, "bus")).values()) == 0
    link.close()
