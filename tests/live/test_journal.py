"""No call is invisible: each that reached the upstream has exactly one event, whatever kills the proxy."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from store.spool import close_dead_writers
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import REAL_KEY, StartProxy, Tenant, chat_chunks
from tests.live.harness import Proxy, wait_for
from tests.live.test_durability import read_all
from tests.live.upstream import Answer, Seen, Upstream, stream_answer

ROUNDS = int(os.environ.get("LLMPROXY_KILL_ROUNDS", "5"))
"""By hand: LLMPROXY_KILL_ROUNDS=100 pytest tests/live/test_journal.py -m slow"""


def load(proxy: Proxy, token: str, numbers: Iterator[int], stop: threading.Event) -> None:
    """Stream without pause, each call under a name of its own, until the proxy is gone."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        while not stop.is_set():
            body = {"model": MODEL, "messages": HELLO, "stream": True, "user": f"call-{next(numbers)}"}
            try:
                client.post(f"{proxy.reverse_url}/v1/chat/completions", headers=authorised(token), json=body)
            except httpx.HTTPError:
                return


def slowly(seen: Seen) -> Answer:
    assert seen.header("authorization") == f"Bearer {REAL_KEY}"
    rng = random.Random(seen.body)
    return stream_answer([part for chunk in chat_chunks() for part in (chunk, rng.uniform(0, 0.03))])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_9_under_streamed_load(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    rng = random.Random(7)
    upstream.handler = slowly
    _, token = tenant.token()
    numbers = itertools.count(1)
    for _ in range(ROUNDS):
        proxy = start_proxy("flow_detail=0", "llm_capture=none")
        stop = threading.Event()
        clients = [threading.Thread(target=load, args=(proxy, token, numbers, stop)) for _ in range(6)]
        before = len(upstream.requests)
        for client in clients:
            client.start()
        wait_for(lambda before=before: len(upstream.requests) > before, "a first call")
        stop.wait(rng.uniform(0, 0.6))
        proxy.kill()
        stop.set()
        for client in clients:
            client.join(20)
    close_dead_writers(proxy.spool)
    reached = {seen.json["user"] for seen in upstream.requests}
    events = [event for event in read_all(proxy.spool) if event["type"] == "llm_proxy_usage"]
    found = Counter(event["user"]["id"] for event in events if isinstance(event["user"], dict))
    assert reached - found.keys() == set(), "reached the upstream and left no event"
    assert {name: count for name, count in found.items() if count > 1} == {}
    died = [event for event in events if event["outcome"] == "proxy_died"]
    assert died, "no kill came during a call: the test tests nothing"
    assert all(event["model"] == MODEL and event["project_id"] == tenant.project.id for event in died)
    print(f"{ROUNDS} kills: {len(reached)} calls reached the upstream, {len(died)} were cut off")


def test_what_a_kill_cut_off_is_recorded_at_the_next_start(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    release = threading.Event()
    upstream.handler = lambda seen: stream_answer([*chat_chunks()[:2], release])
    token_id, token = tenant.token(metadata={"user_id": "ada"})
    proxy = start_proxy()
    request = {"model": MODEL, "messages": HELLO, "stream": True}
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream(
            "POST", f"{proxy.reverse_url}/v1/chat/completions", headers=authorised(token), json=request
        ) as response,
        contextlib.suppress(httpx.HTTPError),
    ):
        next(response.iter_bytes())
        proxy.kill()
    release.set()
    assert proxy.calls() == []
    start_proxy()
    event = proxy.wait_call()
    assert (event["outcome"], event["seq"], event["status"]) == ("proxy_died", 1, None)
    assert (event["token_id"], event["user"]["id"], event["model"]) == (token_id, "ada", MODEL)
    assert event["usage"]["output_tokens"] is None
    assert event["usage"]["source"] == "estimate"
    assert event["cost"]["reason"] == "lower_bound"


def test_a_refused_call_is_not_opened(start_proxy: StartProxy, tenant: Tenant) -> None:
    proxy = start_proxy()
    url = f"{proxy.reverse_url}/v1/chat/completions"
    httpx.post(url, headers=authorised("sk-proxy-wrong"), json={}, trust_env=False)
    proxy.wait_calls(1)
    proxy.stop()
    closing = proxy.records()[-1]
    assert (closing["last_seq"], closing["opened"]) == (1, 0)
