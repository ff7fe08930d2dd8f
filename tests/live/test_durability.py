"""Events survive the death of the proxy."""

from __future__ import annotations

import json
import random
import re
import threading
from pathlib import Path

import httpx
import pytest

from store.spool import SpoolReader
from tests.live.clients import HELLO, MODEL, authorised, chat, reverse_sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for

KILLS = 50
COMMITTED = re.compile(r"committed up to (\S+)/(\d+)")


def load(proxy: Proxy, token: str, stop: threading.Event) -> None:
    """Call without pause until told to stop, or the proxy is gone."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        while not stop.is_set():
            try:
                client.post(
                    f"{proxy.reverse_url}/v1/chat/completions",
                    headers=authorised(token),
                    json={"model": MODEL, "messages": HELLO, "stream": True},
                )
            except httpx.HTTPError:
                return


def reported(proxy: Proxy) -> dict[str, int]:
    """The last number that each writer said to be on disk."""
    last: dict[str, int] = {}
    for line in proxy.lines:
        if match := COMMITTED.search(line):
            last[match[1]] = int(match[2])
    return last


def read_all(spool: Path) -> list[dict[str, object]]:
    """Everything that a consumer is given, read to the end."""
    with SpoolReader(spool, "test") as reader:
        events: list[dict[str, object]] = []
        while batch := reader.read(max_events=1000):
            events += [json.loads(line) for line in batch.lines]
            reader.commit(batch)
        return events


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_committed_events_survive_kill_9(start_proxy: StartProxy, tenant: Tenant) -> None:
    rng = random.Random(11)
    _, token = tenant.token()
    promised: dict[str, int] = {}
    for _ in range(KILLS):
        proxy = start_proxy("termlog_verbosity=debug", "flow_detail=0")
        stop = threading.Event()
        clients = [threading.Thread(target=load, args=(proxy, token, stop)) for _ in range(4)]
        for client in clients:
            client.start()
        wait_for(lambda proxy=proxy: reported(proxy), "a first commit")
        stop.wait(rng.uniform(0, 0.4))
        proxy.kill()
        stop.set()
        for client in clients:
            client.join(20)
        promised |= reported(proxy)
    events = read_all(proxy.spool)
    seen: dict[str, set[int]] = {}
    for event in events:
        seen.setdefault(str(event["writer"]), set()).add(int(str(event["seq"])))
    assert len(promised) == KILLS
    for writer, last in promised.items():
        assert seen.get(writer, set()) >= set(range(1, last + 1)), f"{writer} lost events"
    assert len({event["event_id"] for event in events}) == len(events)
    for letters in (proxy.spool / "dead").glob("*.jsonl"):
        reasons = [json.loads(line)["reason"] for line in letters.read_bytes().splitlines()]
        assert all(reason.startswith("torn") for reason in reasons)

    after = start_proxy()
    assert chat(reverse_sdk(after, token)).choices, "nothing blocks the next start"
    after.stop()
    assert any(event["type"] == "llm_proxy_usage" for event in read_all(proxy.spool))


def test_spool_that_cannot_be_written_refuses_new_calls(start_proxy: StartProxy, tenant: Tenant) -> None:
    """The call that meets the failure was answered; its event waits, and new calls are refused."""
    proxy = start_proxy()
    _, token = tenant.token()
    assert chat(reverse_sdk(proxy, token)).choices
    proxy.wait_calls(1)
    proxy.process.rlimit(1, (1, -1))  # RLIMIT_FSIZE: no file may grow any more
    assert chat(reverse_sdk(proxy, token)).choices
    url = f"{proxy.reverse_url}/v1/chat/completions"

    def status() -> int:
        return httpx.post(
            url, headers=authorised(token), json={"model": MODEL, "messages": HELLO}, trust_env=False
        ).status_code

    wait_for(lambda: status() == 503, "new calls are refused")
    written = len(proxy.calls())
    proxy.process.rlimit(1, (-1, -1))
    wait_for(lambda: status() == 200, "calls are served again")
    wait_for(lambda: len(proxy.calls()) > written + 1, "the events that waited are written")
    calls = proxy.calls()
    assert [call["seq"] for call in calls] == list(range(1, len(calls) + 1))
