"""A store that does not answer holds up no call for longer than is stated, whatever the engine."""

from __future__ import annotations

import base64
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from store.database.engine import ANSWER_SECONDS
from store.keys import master_key
from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy
from tests.live.upstream import Upstream
from tests.store.faulty import postgresql

SLACK = 1.5
"""For a machine that is busy with other things."""
CLIENTS = 6
RATE = limits.of({"requests_per_minute": 1000})
"""A limit of which nothing is kept for a store that is away."""
AWAY = (503, "store_unavailable")


client = httpx.Client(trust_env=False, timeout=60)
"""Made once: that alone takes a while."""


def call(proxy: Proxy, token: str) -> tuple[float, int, str | None]:
    """How long it took, its status and code."""
    begun = time.monotonic()
    answer = client.post(
        f"{proxy.reverse_url}/v1/chat/completions",
        headers=authorised(token),
        json={"model": MODEL, "messages": HELLO},
    )
    error = None if answer.status_code == 200 else answer.json()["error"]["code"]
    return time.monotonic() - begun, answer.status_code, error


def calls_at_once(proxy: Proxy, token: str) -> list[tuple[float, int, str | None]]:
    """Begun one after another, so that some come while another waits already."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        begun = []
        for _ in range(2 * CLIENTS):
            begun.append(pool.submit(call, proxy, token))
            time.sleep(0.3)
        return [each.result() for each in begun]


def check(done: list[tuple[float, int, str | None]]) -> None:
    assert {(status, code) for _, status, code in done} == {AWAY}
    longest = max(seconds for seconds, *_ in done)
    print(sorted(round(seconds, 2) for seconds, *_ in done))
    print(f"the longest of {len(done)} calls: {longest:.2f} s")
    assert longest <= ANSWER_SECONDS + SLACK


@pytest.mark.slow
def test_postgresql_that_is_stopped(
    upstream: Upstream, authority_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
    options = [f"llm_upstream={upstream.base_url}", f"ssl_verify_upstream_trusted_ca={authority_file}"]
    with postgresql() as server:
        _, token = Tenant(server.url(server.port)).token(limits=RATE)
        with Proxy(tmp_path, options, store_url=server.url(server.port)) as proxy:
            assert call(proxy, token)[1] == 200
            server.freeze()
            try:
                check(calls_at_once(proxy, token))
            finally:
                server.thaw()


@pytest.mark.slow
def test_sqlite_that_another_process_keeps_locked(start_proxy: StartProxy, tenant: Tenant) -> None:
    _, token = tenant.token(limits=RATE)
    proxy = start_proxy()
    assert call(proxy, token)[1] == 200
    with closing(sqlite3.connect(proxy.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        check(calls_at_once(proxy, token))
        other.execute("ROLLBACK")
    assert call(proxy, token)[1] == 200
