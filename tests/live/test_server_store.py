"""Two proxies on one store, which is on a server."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from store.keys import master_key
from store.tokens.server_lookup import FRESH_SECONDS
from tests import nursery
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.test_management import address, get, status
from tests.live.upstream import Upstream
from tests.store.engines import SERVERS, server

PASSWORD = "s3cret-of-the-database"


class Pair:
    """Two proxies with a spool of their own each, and who manages their store."""

    def __init__(self, url: str, upstream: Upstream, authority: Path, folder: Path, stack: ExitStack) -> None:
        self.tenant = Tenant(url)
        stack.callback(self.tenant.store.close)
        options = [f"llm_upstream={upstream.base_url}", f"ssl_verify_upstream_trusted_ca={authority}"]
        self.proxies = [
            Proxy(folder / name, [*options, "llm_management=127.0.0.1:0"], store_url=url, cold=True)
            for name in "ab"
        ]
        for proxy in self.proxies:
            proxy.folder.mkdir()
            proxy.launch()
            stack.callback(proxy.stop)
        for proxy in self.proxies:
            proxy.wait_until_listening()
        self._client = stack.enter_context(httpx.Client(trust_env=False, timeout=60))

    def statuses(self, token: str) -> list[int]:
        """Of a call through each."""
        return [self.call(proxy, token).status_code for proxy in self.proxies]

    def call(self, proxy: Proxy, token: str) -> httpx.Response:
        return self._client.post(
            f"{proxy.reverse_url}/v1/chat/completions",
            headers=authorised(token),
            json={"model": MODEL, "messages": HELLO},
        )


@pytest.fixture(params=SERVERS)
def pair(
    request: pytest.FixtureRequest,
    upstream: Upstream,
    authority_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pair]:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
    with server(request.param).database() as url, ExitStack() as stack:
        parts = urlsplit(url)
        if request.param == "postgresql":  # which trusts this machine, whatever the password
            parts = parts._replace(netloc=f"postgres:{PASSWORD}@{parts.hostname}:{parts.port}")
        yield Pair(urlunsplit(parts), upstream, authority_file, tmp_path, stack)


@pytest.mark.slow
def test_two_proxies_share_a_store(pair: Pair) -> None:
    tenant = pair.tenant
    made = [tenant.token() for _ in range(4)]
    for token_id, token in made:
        assert pair.statuses(token) == [200, 200]
        tenant.store.revoke_token(token_id)
        time.sleep(FRESH_SECONDS)  # not for luck: it is what is promised
        assert pair.statuses(token) == [401, 401]

    _, token = tenant.token()
    assert pair.statuses(token) == [200, 200]
    tenant.store.deactivate_project("acme")
    time.sleep(FRESH_SECONDS)
    assert pair.statuses(token) == [403, 403]
    tenant.store.activate_project("acme")
    time.sleep(FRESH_SECONDS)
    assert pair.statuses(token) == [200, 200]
    assert pair.statuses("sk-llmp-unknown") == [401, 401]

    token_id, token = tenant.token(max_requests=20)
    with ThreadPoolExecutor(10) as pool:
        statuses = list(
            pool.map(lambda number: pair.call(pair.proxies[number % 2], token).status_code, range(60))
        )
    assert sorted(statuses) == [200] * 20 + [429] * 40
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 20, "the count")
    shown = wait_for(lambda: tenant.store.get_token(token_id).last_used_at, "the last use")
    assert shown

    for proxy in pair.proxies:
        base = address(proxy)
        assert get(f"{base}/health").json() == {"status": "ok", "reasons": []}
        [shown] = status(proxy)["proxies"]
        assert shown["options"]["llm_store"].endswith(tenant.store.location.shown)
        told = [proxy.output, json.dumps(shown), get(f"{base}/metrics").text, *proxy.process.cmdline()]
        assert PASSWORD not in "".join(told)


def test_without_a_master_key_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
    with server("postgresql").database() as url:
        Tenant(url).store.close()
        monkeypatch.delenv(master_key.VARIABLE)
        proxy = Proxy(tmp_path, store_url=url)
        proxy.launch()
        assert proxy.wait() == 1
        assert "the master key is missing" in proxy.output
        assert "Traceback" not in proxy.output
        other = nursery.run_text(
            [
                *(sys.executable, "-m", "scripts.cli", "--store", url),
                *("project", "create", "b", "--api-key", "sk-1"),
            ]
        )
        assert other.returncode == 1
        assert "the master key is missing" in other.stderr
        assert other.stderr.count("\n") == 1
