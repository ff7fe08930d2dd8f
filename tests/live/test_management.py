"""Health, metrics and ``llmproxy status`` of real proxies."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import httpx
import openai
import pytest

from tests import nursery
from tests.live.clients import chat, http, sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for

AT = re.compile(r"health and metrics at (http://\S+)\.$", re.MULTILINE)


def status(proxy: Proxy, code: int = 0) -> dict[str, Any]:
    done = nursery.run(
        [sys.executable, "-P", "-m", "scripts.cli", "--spool", str(proxy.spool), "status", "--json"]
    )
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def address(proxy: Proxy) -> str:
    found = wait_for(lambda: AT.search(proxy.output), f"the management port in {proxy.output}")
    assert found
    return found[1]


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=20)


def test_health_and_metrics(start_proxy: StartProxy, tenant: Tenant) -> None:
    proxy = start_proxy("llm_management=127.0.0.1:0")
    base = address(proxy)
    _, token = tenant.token()
    chat(sdk(proxy, token))
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(proxy, "sk-proxy-unknown"))
    proxy.wait_calls(2)
    assert get(f"{base}/health").json() == {"status": "ok", "reasons": []}
    text = wait_for(
        lambda: (body := get(f"{base}/metrics").text).count('outcome="refused"') == 1 and body, "both calls"
    )
    assert isinstance(text, str)
    assert 'llmproxy_calls_total{endpoint="chat",outcome="ok"} 1.0' in text
    assert 'llmproxy_refused_total{code="invalid_api_key"} 1.0' in text
    assert "llmproxy_recorded_events 2.0" in text
    assert REAL_KEY not in text
    assert token not in text
    assert 'llmproxy_call_duration_seconds_count{endpoint="chat",model="gpt-4o-mini-2024-07-18"} 1.0' in text
    ready = get(f"{base}/ready").json()
    assert (ready["status"], ready["reasons"], ready["late"]) == ("ready", [], [])
    assert set(ready["checks"].values()) == {"ok"}
    assert get(f"{base}/elsewhere").status_code == 404
    # Not through the proxy itself.
    with http(proxy) as client:
        assert client.get(f"{base}/metrics").status_code == 403

    aside = tenant.store.path.with_suffix(".aside")
    tenant.store.path.rename(aside)
    failing = get(f"{base}/health")
    assert failing.status_code == 503
    assert [reason["code"] for reason in failing.json()["reasons"]] == ["store_unavailable"]
    unready = get(f"{base}/ready")
    assert (unready.status_code, unready.json()["checks"]["store"]) == (503, "failing")
    assert get(f"{base}/live").json() == {"status": "alive"}
    aside.rename(tenant.store.path)
    assert get(f"{base}/health").status_code == 200
    proxy.stop()
    with pytest.raises(httpx.ConnectError):
        get(f"{base}/health")


def test_a_port_that_is_taken_stops_the_start(start_proxy: StartProxy) -> None:
    proxy = start_proxy("llm_management=127.0.0.1:0")
    taken = f"llm_management={address(proxy).removeprefix('http://')}"
    other = Proxy(proxy.folder, [*proxy.options[:-1], taken])
    other.launch()
    assert other.wait() == 1
    assert taken in other.output
    assert "Traceback" not in other.output


def test_status_of_living_and_ended_proxies(start_proxy: StartProxy, tenant: Tenant) -> None:
    _, token = tenant.token()
    first, second, killed = start_proxy(), start_proxy(), start_proxy()
    for proxy in (first, second, killed):
        chat(sdk(proxy, token))
    first.wait_calls(3)
    wait_for(lambda: status(first)["totals"]["recorded"] == 3, "three calls in the status", 30)
    first.stop()
    killed.kill()
    found = status(first)
    assert sorted((one["alive"], bool(one["ended_at"])) for one in found["proxies"]) == [
        (False, False),
        (False, True),
        (True, False),
    ]
    assert [(one["code"], one["severe"]) for one in found["incidents"]] == [("proxy_missing", False)]
    totals = found["totals"]
    assert (totals["alive"], totals["recorded"], totals["queue_length"]) == (1, 3, 0)
    assert (totals["outcomes"], totals["endpoints"]) == ({"ok": 3}, {"chat": 3})
    assert totals["gaps"] == dict.fromkeys(("undecodable", "unparsable", "no_usage", "unpriced", "cut"), 0)
    assert all(one["options"]["llm_models"] == ["*"] for one in found["proxies"])
    assert REAL_KEY not in json.dumps(found)
    assert found["spool"]["segments"] >= 2
    assert found["spool"]["consumers"] == {}
