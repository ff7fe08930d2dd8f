"""``llm_workers=process``: whatever becomes of the process that reads calls, each has one whole event."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from store.tokens import limits
from tests.live.clients import MODEL, authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream, json_answer

ROUNDS = int(os.environ.get("LLMPROXY_WORKER_KILLS", "5"))
"""By hand: LLMPROXY_WORKER_KILLS=100 pytest tests/live/test_workers.py"""
CLIENTS, CALLS = 4, 3
UNREPORTED = {
    "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "one"}}],
}
"""An answer without a usage: the request's tokens have to be counted, which takes a while."""


def readers(proxy: Proxy) -> list[psutil.Process]:
    """The processes that read the calls of a proxy."""
    found = []
    for child in proxy.process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also one that has ended and is not waited for yet
            if any("recording.reading" in part for part in child.cmdline()):
                found.append(child)
    return found


def load(proxy: Proxy, token: str, round_: int, client_number: int) -> list[int]:
    statuses = []
    with httpx.Client(trust_env=False, timeout=60) as client:
        for number in range(CALLS):
            text = " ".join(f"word{round_}{client_number}{number}" for _ in range(4000))
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "user": f"{round_}"}
            url = f"{proxy.reverse_url}/v1/chat/completions"
            statuses.append(client.post(url, headers=authorised(token), json=body).status_code)
    return statuses


def test_kill_9_of_the_reading_process_loses_nothing_and_counts_nothing_twice(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    upstream.handler = lambda _: json_answer(UNREPORTED)
    proxy = start_proxy("llm_workers=process", "flow_detail=0", "llm_capture=none")
    _, token = tenant.token()
    rng = random.Random(5)
    killed = 0
    for round_ in range(ROUNDS):
        with ThreadPoolExecutor(CLIENTS) as pool:
            under_way = [pool.submit(load, proxy, token, round_, number) for number in range(CLIENTS)]
            wait_for(lambda done=round_ * CLIENTS * CALLS: len(proxy.calls()) > done, "a first event", 60)
            threading.Event().wait(rng.uniform(0, 0.1))
            victims = readers(proxy)
            assert victims, proxy.output
            for victim in victims:
                victim.kill()
                killed += 1
            assert all(status == 200 for one in under_way for status in one.result())
    calls = proxy.wait_calls(ROUNDS * CLIENTS * CALLS, 60)
    proxy.stop()
    assert len(calls) == ROUNDS * CLIENTS * CALLS
    assert set(Counter(call["event_id"] for call in calls).values()) == {1}
    assert [call["seq"] for call in calls] == list(range(1, len(calls) + 1))
    assert {call["usage"]["source"] for call in calls} == {"tokenizer"}
    assert killed >= ROUNDS
    (closing,) = [record for record in proxy.records() if record["type"] == "llm_proxy_writer"]
    assert (closing["opened"], closing["unrecorded"]) == (len(calls), 0)
    spent = tenant.store.list_tokens()[0].request_count
    assert spent == len(calls)


def test_the_processes_end_with_the_proxy_however_it_ends(start_proxy: StartProxy, tenant: Tenant) -> None:
    proxy = start_proxy("llm_workers=process:2")
    (first, second) = wait_for(lambda: found if len(found := readers(proxy)) == 2 else None, "two processes")
    proxy.kill()
    begun = time.monotonic()
    wait_for(lambda: not first.is_running() and not second.is_running(), "the end of both", 60)
    print(f"{time.monotonic() - begun:.1f} s")
    assert not [one for one in (first, second) if one.is_running()]


def has_prices(proxy: Proxy) -> bool:
    """Whether the proxy's own process has loaded genai-prices: nothing else of ours brings pydantic."""
    return "pydantic_core" in Path(f"/proc/{proxy.process.pid}/maps").read_text()


def test_a_proxy_loads_prices_with_the_first_budget_in_dollars(
    start_proxy: StartProxy, tenant: Tenant
) -> None:
    """They take 25 MB, and a third of a second. Started from nothing: the nursery may have loaded them."""
    _, token = tenant.token()
    proxy = start_proxy("llm_workers=process", cold=True)
    url = f"{proxy.reverse_url}/v1/chat/completions"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi."}]}
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert client.post(url, headers=authorised(token), json=body).status_code == 200
        proxy.wait_calls(1, 60)
        assert not has_prices(proxy)
        _, limited = tenant.token(
            limits=limits.of({"budgets": {"usd": {"day": "1"}}, "budget_mode": "strict"})
        )
        assert client.post(url, headers=authorised(limited), json=body).status_code == 200
    assert has_prices(proxy)
    assert len(proxy.wait_calls(2, 60)) == 2
    proxy.stop()
    again = start_proxy("llm_workers=process", cold=True)
    wait_for(lambda: has_prices(again), "prices, before the first call")
