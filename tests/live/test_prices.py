"""``llm_prices`` in a proxy that serves, and the same prices told again afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.clients import chat, sdk
from tests.live.conftest import StartProxy, Tenant

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
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    again = json.loads(done.stdout)
    assert again["event_id"] == event["event_id"]
    assert again["cost"]["price_source"].startswith("genai-prices/")
