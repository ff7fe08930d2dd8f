"""Under PYTHONOPTIMIZE=1 there are no asserts, mitmproxy's and ours: all still holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream

pytestmark = pytest.mark.once


@pytest.fixture
def optimized(start_proxy: StartProxy) -> Iterator[Proxy]:
    proxy = start_proxy("llm_workers=process", cold=True, environment={"PYTHONOPTIMIZE": "1"})
    assert psutil.Process(proxy.process.pid).environ()["PYTHONOPTIMIZE"] == "1"
    yield proxy
    assert "Traceback" not in proxy.output


def post(proxy: Proxy, token: str, **more: Any) -> httpx.Response:
    url = f"{proxy.reverse_url}/v1/chat/completions"
    body = {"model": MODEL, "messages": HELLO, **more}
    return httpx.post(url, headers=authorised(token), json=body, timeout=60, trust_env=False)


def test_calls_streams_and_refusals(optimized: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    strict = {"budget_mode": "strict", "budgets": {"tokens": {"total": 40_000}}, "max_output_tokens": 200}
    token_id, token = tenant.token(limits=limits.of(strict))
    assert post(optimized, token).status_code == 200
    assert post(optimized, token, stream=True).text.endswith("data: [DONE]\n\n")
    calls = optimized.wait_calls(2)
    assert [call["usage"]["total_tokens"] for call in calls] == [14, 14]
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 2, "both are counted")

    before = len(upstream.requests)
    assert post(optimized, "sk-llmp-unknown").status_code == 401
    refused = post(optimized, token, max_tokens=5000)
    assert (refused.status_code, len(upstream.requests)) == (400, before), refused.text
    _, none_left = tenant.token(limits=limits.of({**strict, "budgets": {"tokens": {"total": 50}}}))
    refused = post(optimized, none_left)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    _, elsewhere = tenant.token(limits=limits.of({"models": ["o3"]}))
    assert post(optimized, elsewhere).status_code == 404
    assert len(upstream.requests) == before
    assert {call["outcome"] for call in optimized.wait_calls(5)[2:]} == {"refused"}
    assert optimized.stop() == 0
