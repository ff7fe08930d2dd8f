"""Changes that another process makes to the store hold from the next request on."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import httpx
import openai
import pytest

from tests import nursery
from tests.live.clients import HELLO, MODEL, authorised, chat, sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream


def manage(store: Path, *arguments: str) -> object:
    """Run ``scripts/manage`` as another process."""
    done = nursery.run([sys.executable, "-m", "scripts.cli", "--store", str(store), *arguments, "--json"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_revocation_and_deactivation_hold_at_once(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    made = manage(tenant.store.path, "token", "create", "--project", "acme", "--metadata", "team=search")
    assert isinstance(made, dict)
    client = sdk(proxy, made["token"])
    assert chat(client).choices

    manage(tenant.store.path, "project", "deactivate", "acme")
    with pytest.raises(openai.PermissionDeniedError):
        chat(client)
    manage(tenant.store.path, "project", "activate", "acme")
    assert chat(client).choices
    manage(tenant.store.path, "token", "revoke", made["id"])
    with pytest.raises(openai.AuthenticationError):
        chat(client)
    assert len(upstream.requests) == 2
    assert [call["outcome"] for call in proxy.wait_calls(4)] == ["ok", "refused", "ok", "refused"]
    assert all(call["token_metadata"] == {"team": "search"} for call in proxy.calls())


def test_counts_and_last_use_are_kept(proxy: Proxy, tenant: Tenant) -> None:
    token_id, token = tenant.token()
    for _ in range(3):
        chat(sdk(proxy, token))
    shown = wait_for(
        lambda: (found := tenant.store.get_token(token_id)).request_count == 3 and found, "the count"
    )
    assert shown
    assert shown.last_used_at is not None


def test_new_key_is_used_at_once(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    _, token = tenant.token()
    chat(sdk(proxy, token))
    manage(tenant.store.path, "project", "update", "acme", "--api-key", "sk-another-key-of-the-project")
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(proxy, token))
    assert upstream.requests[-1].header("authorization") == "Bearer sk-another-key-of-the-project"


CALLS, QUOTA = 400, 200


@pytest.mark.slow
def test_quota_is_exact_over_two_proxies(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    """Through two processes on one store: of 400 calls, exactly the quota of 200 pass."""
    token_id, token = tenant.token(max_requests=QUOTA)
    proxies = [start_proxy(), start_proxy()]
    statuses: list[int] = []
    lock = threading.Lock()

    def call(number: int) -> None:
        url = f"{proxies[number % 2].reverse_url}/v1/chat/completions"
        with httpx.Client(trust_env=False, timeout=120) as client:
            for _ in range(CALLS // 20):
                status = client.post(
                    url, headers=authorised(token), json={"model": MODEL, "messages": HELLO}
                ).status_code
                with lock:
                    statuses.append(status)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == QUOTA
    assert len(statuses) == CALLS
    assert len(upstream.requests) == QUOTA
    calls = proxies[0].wait_calls(CALLS, 60)  # both write into the same folder
    assert [call["outcome"] for call in calls].count("ok") == QUOTA
    wait_for(lambda: tenant.store.get_token(token_id).request_count == QUOTA, "the count")


def test_store_that_is_gone(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    """Without the store nothing passes; with it back, calls do."""
    _, token = tenant.token()
    chat(sdk(proxy, token))
    aside = tenant.store.path.with_suffix(".aside")
    tenant.store.path.rename(aside)
    with pytest.raises(openai.InternalServerError) as raised:
        chat(sdk(proxy, token))
    assert raised.value.code == "store_unavailable"
    aside.rename(tenant.store.path)
    assert chat(sdk(proxy, token)).choices
    assert len(upstream.requests) == 2
