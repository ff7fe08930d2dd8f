"""Events survive the death of the proxy."""

from __future__ import annotations

import json
import os
import random
import re
import threading
from pathlib import Path

import httpx
import pytest

from store.spool import SpoolReader
from tests.live.clients import HELLO, MODEL, authorised, chat, reverse_sdk
from tests.live.conftest import StartProxy, Tenant, chat_chunks
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream, stream_answer

KILLS = int(os.environ.get("LLMPROXY_KILL_ROUNDS", "12"))
"""By hand: LLMPROXY_KILL_ROUNDS=100 pytest tests/live/test_durability.py -m slow"""
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


@pytest.mark.once
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
    for event in (event for event in events if event["type"] != "llm_proxy_writer"):
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


def test_spool_that_cannot_be_written_refuses_new_calls(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    """The call that is under way goes on, and its event waits; new calls are refused until it is written."""
    go_on = threading.Event()
    first, *rest = chat_chunks()
    plain_answer = upstream.handler
    upstream.handler = lambda seen: stream_answer([first, go_on, *rest])
    proxy = start_proxy()
    _, token = tenant.token()
    stream = iter(chat(reverse_sdk(proxy, token), stream=True))
    next(stream)
    upstream.handler = plain_answer
    proxy.process.rlimit(1, (1, -1))  # RLIMIT_FSIZE: no file may grow any more
    go_on.set()
    assert len(list(stream)) == len(rest) - 2, "the client gets all, without the usage it has not asked for"
    url = f"{proxy.reverse_url}/v1/chat/completions"

    def status() -> int:
        return httpx.post(
            url, headers=authorised(token), json={"model": MODEL, "messages": HELLO}, trust_env=False
        ).status_code

    answered = len(upstream.requests)
    assert status() == 503
    wait_for(lambda: "the spool cannot be written" in proxy.output, "the failure is told")
    assert status() == 503
    assert len(upstream.requests) == answered, "what can't be recorded does not go upstream"
    proxy.process.rlimit(1, (-1, -1))
    wait_for(lambda: status() == 200, "calls are served again")
    calls = proxy.wait_calls(4)
    assert [call["seq"] for call in calls] == list(range(1, len(calls) + 1))
    assert (calls[0]["outcome"], calls[0]["stream"]) == ("ok", True), "the event that waited"
