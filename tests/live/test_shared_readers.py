"""``llmproxy serve``: its proxies share the processes that read finished calls, whatever becomes of those."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from store.spool.status_files import read_all
from tests.live.conftest import answer
from tests.live.harness import wait_for
from tests.live.served import CLIENTS, Load, Served, serving


@pytest.fixture(scope="module")
def served(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readers")
    with serving(answer, authority, authority_file, folder, workers="shared") as running:
        yield running


def recorded(served: Served, load: Load) -> None:
    """Wait until each answered call has its event, and see that none has two."""
    name = f"{load.name}-"

    def events() -> list[str]:
        users = [str((one["user"] or {}).get("id")) for one in served.events()]
        return [user for user in users if user.startswith(name)]

    wait_for(lambda: len(events()) >= len(load.statuses), "an event of each call", 90)
    assert set(load.statuses) == {200}
    assert load.failures == []
    assert len(events()) == len(load.statuses)
    assert set(Counter(events()).values()) == {1}


def test_both_proxies_have_the_same_processes(served: Served) -> None:
    before = len(served.events())
    for number in range(30):
        with httpx.Client(trust_env=False, timeout=60) as client:
            assert served.call(client, f"spread-{number}") == 200
    wait_for(lambda: len(served.events()) >= before + 30, "30 events")
    assert len({event["writer"] for event in served.events()}) == 2, "of both proxies"
    assert {event["usage"]["source"] for event in served.events()} == {"api"}
    (pool,) = served.pools()
    readers = {one.pid for one in served.readers()}
    assert len(readers) == 2
    proxies = [psutil.Process(pid) for pid in served.pids()]
    assert [one.children(recursive=True) for one in proxies] == [[], []], "none has one of its own"

    def told() -> set[int]:
        return {pid for one in read_all(served.spool) for pid in one.value.get("worker_pids", [])}

    assert wait_for(told, "who has read") <= readers
    found = re.search(r"^llmproxy_worker_processes (\S+)$", served.get("/metrics").text, re.MULTILINE)
    assert found
    assert 1 <= float(found[1]) <= 2, "each counted once"
    assert pool.is_running()


def test_sigkill_of_those_that_read_loses_no_event_and_counts_none_twice(served: Served) -> None:
    with Load(served, "readers") as load:
        for _ in range(5):
            wait_for(lambda: len(served.readers()) == 2, "both", 60)
            for process in served.readers():
                process.kill()
            made = len(served.events())  # who is killed thrice at one call leaves that in outline
            wait_for(lambda made=made: len(served.events()) > made + CLIENTS, "more events", 60)
    recorded(served, load)
    health = served.get("/health").json()
    assert health["status"] == "ok"


def test_sigkill_of_what_starts_them_is_healed(served: Served) -> None:
    (pool,) = served.pools()
    with Load(served, "pool") as load:
        orphans = served.readers()
        pool.kill()
        wait_for(lambda: any(one != pool for one in served.pools()), "another pool", 60)
        wait_for(lambda: len(served.readers()) == 2, "others that read", 60)
        made = len(load.statuses)
        wait_for(lambda: len(load.statuses) > made + CLIENTS, "more calls", 60)
    recorded(served, load)
    wait_for(lambda: not any(one.is_running() for one in orphans), "the end of the old ones", 60)
    assert {one.pid for one in served.readers()}.isdisjoint(one.pid for one in orphans)


def test_a_replacement_of_the_proxies_has_others_read_and_loses_nothing(served: Served) -> None:
    """New proxies may be of a new version, and so must be what reads for them."""
    (pool,) = served.pools()
    before = served.pids()
    with Load(served, "sighup") as load:
        served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(served.pids() - before) == 2, "two new proxies", 90)
        wait_for(lambda: not served.pids() & before, "the end of the old ones", 60)
        wait_for(lambda: not pool.is_running(), "the end of what read for them", 60)
    recorded(served, load)
    (successor,) = served.pools()
    assert successor != pool


def test_they_end_with_serve_itself_killed(served: Served) -> None:
    (pool,) = served.pools()
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert served.call(client, "the-last") == 200
    served.killed = True
    served.process.kill()
    served.process.wait()
    wait_for(lambda: not pool.is_running(), "the end of the pool, which is after that of the proxies", 90)
    assert not served.pids()
    assert "the-last" in {str((one["user"] or {}).get("id")) for one in served.events()}
