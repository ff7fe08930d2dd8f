"""No call is invisible: each that reached the upstream has exactly one event, whatever kills the proxy."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import sqlite3
import threading
from collections.abc import Iterator

import httpx
import pytest
from click.testing import CliRunner

from scripts.cli import main
from store.spool import usage_checkpoint
from store.tokens import limits
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


def killed_under_load(start_proxy: StartProxy, token: str, upstream: Upstream, rng: random.Random) -> Proxy:
    """Start a proxy, have six clients stream, and kill it, again and again; return the last one."""
    numbers = itertools.count(1)
    for _ in range(ROUNDS):
        proxy = start_proxy("flow_detail=0", "llm_capture=none")
        stop, before = threading.Event(), len(upstream.requests)
        clients = [threading.Thread(target=load, args=(proxy, token, numbers, stop)) for _ in range(6)]
        for client in clients:
            client.start()
        wait_for(lambda before=before: len(upstream.requests) > before, "a first call")
        stop.wait(rng.uniform(0, 0.6))
        proxy.kill()
        stop.set()
        for client in clients:
            client.join(20)
    return proxy


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_and_a_strict_budget(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    """Only calls that were sent are charged what they held, which is shown, and can be put right."""
    upstream.handler = slowly
    held = {"budget_mode": "strict", "max_output_tokens": 2_000, "budgets": {"tokens": {"total": 10**9}}}
    token_id, token = tenant.token(limits=limits.of(held))
    killed_under_load(start_proxy, token, upstream, random.Random(11))
    proxy = start_proxy()

    def spent() -> tuple[int, int]:
        with contextlib.closing(sqlite3.connect(proxy.store)) as connection:
            sql = "SELECT requests, tokens FROM spend WHERE subject = ? AND period = 'total'"
            return tuple(connection.execute(sql, [token_id]).fetchone() or (0, 0))

    wait_for(lambda: not usage_checkpoint.left_behind(proxy.spool), "all is counted", 90)
    events = [event for event in read_all(proxy.spool) if event["type"] == "llm_proxy_usage"]
    sent = [e for e in events if e["usage_missing_code"] != "not_sent" and e["outcome"] != "refused"]
    died = [event for event in sent if event["outcome"] == "proxy_died"]
    known = sum((event["usage"] or {}).get("total_tokens") or 0 for event in events)
    in_died = sum((event["usage"] or {}).get("input_tokens") or 0 for event in died)
    assert died, "no kill came during a call: the test tests nothing"
    wait_for(lambda: spent()[0] == len(sent), "what was sent is charged, and nothing else", 90)
    requests, tokens = spent()
    excess = tokens - known - in_died
    assert 0 < excess <= len(died) * 2_300, "each holds its prompt and 2,000 tokens at most"
    options = ["--store", str(proxy.store), "--spool", str(proxy.spool)]
    shown = json.loads(CliRunner().invoke(main, ["report", "usage", *options, "--json"]).stdout)
    assert shown[0]["assumed_tokens"] == excess
    done = CliRunner().invoke(main, ["budget", "settle", "--died", *options[:2], "--json"])
    assert len(json.loads(done.stdout)) == len(died)
    assert spent() == (requests, known + in_died)
    print(
        f"{ROUNDS} kills, {len(events)} calls: {len(events) - len(sent)} not sent or refused, charged 0; "
        f"{len(died)} cut off, charged {excess} tokens more than their events say; "
        f"after settle {known + in_died} in all"
    )


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


def test_a_kill_before_the_request_was_sent_costs_nothing(start_proxy: StartProxy, tenant: Tenant) -> None:
    """The upstream accepts, and does not answer the handshake of TLS."""
    token_id, token = tenant.token(
        max_requests=5, limits=limits.of({"budget_mode": "strict", "budgets": {"tokens": {"day": 10_000}}})
    )
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        proxy = start_proxy(upstream_url=f"https://localhost:{silent.getsockname()[1]}")
        request = {"model": MODEL, "messages": HELLO, "max_completion_tokens": 9_000}

        def call() -> None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(
                    f"{proxy.reverse_url}/v1/chat/completions",
                    headers=authorised(token),
                    json=request,
                    timeout=60,
                    trust_env=False,
                )

        client = threading.Thread(target=call)
        client.start()
        silent.settimeout(60)
        accepted, _ = silent.accept()
        proxy.kill()
        client.join(60)
        accepted.close()
    start_proxy()
    event = proxy.wait_call()
    assert (event["outcome"], event["usage_missing_code"]) == ("proxy_died", "not_sent")
    assert (event["usage"], event["cost"]) == (None, None)
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 0, "the request is given back", 60)
    (gauge,) = [
        each for each in tenant.store.token_use(tenant.store.get_token(token_id)) if "/" in each.limit
    ]
    assert (gauge.used, gauge.held) == (0, 0)


def test_a_refused_call_is_not_opened(start_proxy: StartProxy, tenant: Tenant) -> None:
    proxy = start_proxy()
    url = f"{proxy.reverse_url}/v1/chat/completions"
    httpx.post(url, headers=authorised("sk-proxy-wrong"), json={}, trust_env=False)
    proxy.wait_calls(1)
    proxy.stop()
    closing = proxy.records()[-1]
    assert (closing["last_seq"], closing["opened"]) == (1, 0)
