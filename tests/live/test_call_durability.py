"""``llm_durability=call``: what a client saw complete is on disk by then."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.live.clients import HELLO, MODEL, authorised, chat, reverse_sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for

CALLS = int(os.environ.get("LLMPROXY_DURABLE_CALLS", "60"))
"""By hand: LLMPROXY_DURABLE_CALLS=10000 pytest tests/live/test_call_durability.py -m slow"""
CLIENTS = 6


def load(
    proxy: Proxy, token: str, numbers: Iterator[int], complete: list[str], stop: threading.Event
) -> None:
    """Call without pause, every other one streamed; note the calls that came back whole."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        while not stop.is_set():
            number = next(numbers)
            body = {"model": MODEL, "messages": HELLO, "stream": number % 2 == 0, "user": f"call-{number}"}
            try:
                answer = client.post(
                    f"{proxy.reverse_url}/v1/chat/completions", headers=authorised(token), json=body
                )
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                complete.append(body["user"])  # type: ignore[arg-type]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_call_that_was_seen_complete_is_on_disk(start_proxy: StartProxy, tenant: Tenant) -> None:
    rng = random.Random(13)
    _, token = tenant.token()
    numbers, complete, kills = itertools.count(1), list[str](), 0
    while len(complete) < CALLS:
        proxy = start_proxy("llm_durability=call", "flow_detail=0", "llm_capture=none")
        stop, before = threading.Event(), len(complete)
        clients = [
            threading.Thread(target=load, args=(proxy, token, numbers, complete, stop))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        wait_for(lambda before=before: len(complete) > before, "a first call")
        stop.wait(rng.uniform(0, max(2.0, CALLS / 1000)))
        proxy.kill()
        kills += 1
        stop.set()
        for client in clients:
            client.join(20)
    recorded = {call["user"]["id"] for call in proxy.calls() if call["outcome"] == "ok"}
    assert set(complete) - recorded == set(), "seen complete, and not on disk"
    print(f"{kills} kills, {len(complete)} calls seen complete; all of them have their event")


@pytest.mark.parametrize("stream", [False, True])
def test_the_end_of_an_answer_waits_for_the_disk(
    start_proxy: StartProxy, tenant: Tenant, stream: bool
) -> None:
    """The disk fails while the call is under way: its client gets the end when the event is written."""
    proxy = start_proxy("llm_durability=call")
    _, token = tenant.token()
    assert chat(reverse_sdk(proxy, token)).choices
    proxy.process.rlimit(1, (proxy.spool_bytes() + 150, -1))  # RLIMIT_FSIZE: the journal may grow, no more
    ended: list[float] = []
    got: list[bytes] = []

    def call() -> None:
        body = {"model": MODEL, "messages": HELLO, "stream": stream}
        with (
            httpx.Client(trust_env=False, timeout=60) as client,
            client.stream(
                "POST", f"{proxy.reverse_url}/v1/chat/completions", headers=authorised(token), json=body
            ) as response,
        ):
            got.extend(response.iter_raw())
        ended.append(time.monotonic())

    client = threading.Thread(target=call)
    client.start()
    wait_for(lambda: "the spool cannot be written" in proxy.output, "the disk fails")
    assert not ended
    refused = httpx.post(
        f"{proxy.reverse_url}/v1/chat/completions",
        headers=authorised(token),
        json={"model": MODEL, "messages": HELLO},
        trust_env=False,
        timeout=30,
    )
    assert refused.json()["error"]["code"] == "spool_unavailable", "a refusal never waits for the disk"
    assert not ended
    assert bool(got) == stream, "what is streamed passes at once, all else waits whole"
    assert len(proxy.calls()) == 1
    proxy.process.rlimit(1, (-1, -1))
    client.join(20)
    assert ended
    assert [call["outcome"] for call in proxy.wait_calls(3)] == ["ok", "ok", "refused"]
    assert b"".join(got).rstrip().endswith(b"[DONE]" if stream else b"}")
