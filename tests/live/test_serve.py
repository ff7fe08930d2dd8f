"""``llmproxy serve``: several proxies on one port are one, whatever becomes of any of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx

from store.tokens import limits
from tests.live.clients import authorised
from tests.live.harness import wait_for
from tests.live.served import CLIENTS, Load, Served


def test_new_connections_go_to_both_and_their_figures_are_one(served: Served) -> None:
    before = len(served.events())
    for number in range(40):
        with httpx.Client(trust_env=False, timeout=60) as client:
            assert served.call(client, f"spread-{number}") == 200
    wait_for(lambda: len(served.events()) >= before + 40, "40 events")
    assert len({event["writer"] for event in served.events()}) == 2
    calls = re.compile(r'llmproxy_calls_total\{endpoint="chat",outcome="ok"\} (\S+)')

    def counted() -> bool:
        found = calls.search(served.get("/metrics").text)
        return found is not None and float(found[1]) == len(served.events())

    wait_for(counted, "metrics of both")
    health = served.get("/health")
    assert health.status_code == 200
    assert set(health.json()["proxies"]) == served.pids()


def test_a_budget_is_exact_over_both(served: Served) -> None:
    _, token = served.tenant.token(max_requests=15, limits=limits.of({"requests_per_minute": 1000}))

    def one(number: int) -> int:
        with httpx.Client(trust_env=False, timeout=60) as client:
            return served.call(client, f"budget-{number}", token)

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(40)))
    assert statuses.count(200) == 15
    assert {status for status in statuses if status != 200} == {429}


def test_the_reverse_listener_speaks_tls_by_the_certificate(served: Served) -> None:
    url = f"https://localhost:{served.port('listen-reverse')}/v1/models"
    with httpx.Client(verify=str(served.trusted), trust_env=False, timeout=60) as client:
        assert client.get(url, headers=authorised(served.token)).status_code == 200


def test_sighup_replaces_all_without_a_refused_or_cut_call(served: Served) -> None:
    before = served.pids()
    with Load(served, "sighup") as load:
        served.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(served.pids() - before) == 2, "two new proxies", 90)
        wait_for(lambda: not served.pids() & before, "the end of the old ones", 60)
        made = len(load.statuses)
        wait_for(lambda: len(load.statuses) > made + CLIENTS, "calls to the new ones")
    assert load.failures == []
    assert set(load.statuses) == {200}
    found = wait_for(
        lambda: (
            found
            if len(found := [one for one in served.events() if "sighup" in str(one["user"])])
            >= len(load.statuses)
            else None
        ),
        "all events",
    )
    assert len(found) == len(load.statuses)


def test_a_proxy_that_dies_is_started_again_and_leaves_an_event_of_each_call(served: Served) -> None:
    victim = min(served.pids())
    reached = len(served.upstream.requests)
    with Load(served, "kill") as load:
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(served.pids() - {victim}) == 2, "another proxy", 90)
    assert set(load.statuses) == {200}
    assert len(load.failures) <= CLIENTS, "only what the dead proxy was at"
    sent = [seen.json["user"] for seen in served.upstream.requests[reached:] if seen.body[:1] == b"{"]
    users = {user for user in sent if user.startswith("kill")}

    def recorded() -> set[str]:
        return {str(one["user"]["id"]) for one in served.events() if one["user"]}

    wait_for(lambda: users <= recorded(), "an event of each call that reached the upstream", 90)
    counts = [str(one["user"]["id"]) for one in served.events() if one["user"]]
    assert len(counts) == len(set(counts)), "counted twice"


def test_one_that_hangs_is_replaced(served: Served) -> None:
    """SIGSTOP: it accepts connections, and answers none; the other one goes on."""
    victim = min(served.pids())
    os.kill(victim, signal.SIGSTOP)
    try:
        wait_for(lambda: len(served.pids() - {victim}) == 2, "another proxy", 120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)
    assert f"a proxy (pid {victim}) has not moved for 12 s; it is killed." in served.log.read_text()
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert served.call(client, "after-the-hang") == 200


def test_dispatch_sends_all_also_after_its_dispatcher_was_killed(served: Served) -> None:
    first = served.dispatcher()
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert served.call(client, "before-the-kill") == 200
    first.kill()
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert served.call(client, "after-the-kill") == 200
    wait_for(lambda: served.dispatcher() != first, "another dispatcher", 60)

    def delivered() -> set[str]:
        lines = served.delivered.read_text().splitlines() if served.delivered.exists() else []
        events = [json.loads(line) for line in lines]
        return {str(event["user"]["id"]) for event in events if event.get("user")}

    wait_for(lambda: delivered() >= {"before-the-kill", "after-the-kill"}, "both, in the file", 60)


def test_killed_itself_it_leaves_nothing_behind(served: Served) -> None:
    pids = served.pids()
    assert json.loads(served.get("/health").text)["status"] == "ok"
    dispatcher = served.dispatcher()
    served.process.kill()
    served.process.wait()
    wait_for(lambda: not served.pids() & pids, "the end of the proxies", 60)
    wait_for(lambda: not dispatcher.is_running(), "the end of the dispatcher", 60)
    served.killed = True
