"""``llm_prices`` in a proxy that serves, and the same prices told again afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import nursery
from tests.live.clients import chat, sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import wait_for
from tests.live.upstream import Upstream, json_answer

LLMPROXY = (sys.executable, "-m", "scripts.cli")
PRICES = {"input_mtok": 1000, "output_mtok": 2000}

pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_prices_of_ones_own(start_proxy: StartProxy, tenant: Tenant, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    model = "{id: gpt-4o-mini, prices: {input_mtok: 1000, output_mtok: 2000}}"
    prices.write_text(f"id: openai\nmodels:\n- {model}\n")
    proxy = start_proxy(f"llm_prices={prices}")
    _, token = tenant.token()
    with sdk(proxy, token) as client:
        for _ in chat(client, stream=True):
            pass
    event = proxy.wait_call()
    used = event["usage"]
    assert event["cost"] == {
        "usd": f"{(used['input_tokens'] + 2 * used['output_tokens']) / 1000:g}",
        "price_source": "llm_prices/prices.yaml",
    }
    proxy.stop()
    command = [sys.executable, "-m", "scripts.cli", "--spool", str(proxy.spool), "reprice", "--all"]
    done = nursery.run(command)
    again = json.loads(done.stdout)
    assert again["event_id"] == event["event_id"]
    assert again["cost"]["price_source"].startswith("genai-prices/")


def test_a_newer_list_holds_without_a_restart_and_repricing_reaches_the_reports(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    """The model of the first call is younger than the program; its price comes while the proxy runs."""
    proxy = start_proxy()
    _, token = tenant.token()
    young = "tomorrow-1"
    used = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    upstream.handler = lambda seen: json_answer({"model": young, "choices": [], "usage": used})
    with sdk(proxy, token) as client:
        chat(client, model=young)
        first = proxy.wait_call()
        assert first["cost"]["usd"] is None
        llmproxy = [
            sys.executable,
            "-m",
            "scripts.cli",
            "--store",
            str(proxy.store),
            "--spool",
            str(proxy.spool),
        ]
        newer = tmp_path / "newer.json"
        newer.write_text(json.dumps([{"id": "openai", "models": [{"id": young, "prices": PRICES}]}]))
        assert nursery.run([*llmproxy, "prices", "update", str(newer), "--name", "newer"]).returncode == 0

        def priced() -> bool:
            chat(client, model=young)
            return any(call["cost"]["usd"] is not None for call in proxy.calls())

        wait_for(priced, "a call by the new list", 60)
    assert any(
        call["cost"]["price_source"].startswith("prices/newer@")
        for call in proxy.calls()
        if call["cost"]["usd"]
    )
    proxy.stop()
    assert nursery.run([*llmproxy, "reprice"]).returncode == 0

    def report() -> dict[str, Any]:
        done = nursery.run([*llmproxy, "report", "usage", "--by", "model", "--json"])
        (row,) = (row for row in json.loads(done.stdout) if row["model"] == young)
        return dict(row)

    once = report()
    assert once["unpriced"] == 0
    tokens = once["input_tokens"] * 1000 + once["output_tokens"] * 2000
    assert once["nano_usd"] == tokens * 1000
    assert nursery.run([*llmproxy, "reprice"]).returncode == 0
    assert report() == once
