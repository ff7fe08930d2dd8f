"""From real proxies, through a real dispatcher, to a real receiver of webhooks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from store.tokens import limits
from tests.dispatch.conftest import environment
from tests.dispatch.webhook_receiver import SECRET, Receiver
from tests.live.clients import HELLO, chat, sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import wait_for

QUICK = "import dispatch.alerting.watch as watch; watch.SECONDS = 0.5; from scripts.cli import main; main()"
"""The command, but for the time between two looks."""


@pytest.mark.once
def test_a_budget_and_a_proxy_that_is_killed(start_proxy: StartProxy, tenant: Tenant, tmp_path: Path) -> None:
    receiver = Receiver()
    proxy = start_proxy()
    _, token = tenant.token(limits=limits.of({"budgets": {"usd": {"total": "0.0000001"}}}))
    arguments = [
        *("--store", str(proxy.store), "--spool", str(proxy.spool), "dispatch", "--follow"),
        *("--service", "webhook,file", "--output", str(tmp_path / "events.jsonl"), "--alert-after", "1"),
        *("--webhook-secret", "env:HOOK_SECRET"),
    ]
    with receiver.running():
        url = ("--webhook-url", receiver.url + receiver.path)
        process = subprocess.Popen(
            [sys.executable, "-c", QUICK, *arguments, *url],
            env=environment(HOOK_SECRET=SECRET),
            cwd=Path(__file__).resolve().parents[2],
        )
        try:
            with pytest.raises(openai.RateLimitError, match="budget"):
                chat(sdk(proxy, token))
            marks = wait_for(lambda: len(receiver.taken) >= 3 and receiver.taken[:], "three marks", 60)
            assert isinstance(marks, list)
            assert [one["type"] for one in marks] == ["budget.reached"] * 3
            assert [one["data"]["reached"] for one in marks] == [50, 80, 100]
            proxy.kill()
            gone = wait_for(lambda: len(receiver.taken) > 3 and receiver.taken[3], "the killed proxy", 60)
            assert isinstance(gone, dict)
            assert (gone["type"], gone["data"]["reason"]) == ("proxy.unhealthy", "proxy_missing")
            assert "did not say that it ends" in gone["data"]["summary"]
            start_proxy()
            back = wait_for(lambda: len(receiver.taken) > 4 and receiver.taken[4], "its replacement", 60)
            assert isinstance(back, dict)
            assert (back["type"], back["data"]["subject"]) == ("proxy.recovered", gone["data"]["subject"])
        finally:
            process.terminate()
            process.wait(30)
    said = json.dumps(receiver.taken)
    assert REAL_KEY not in said
    assert token not in said
    assert HELLO[0]["content"] not in said
    spooled = (tmp_path / "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["type"] for line in spooled]
    assert kinds.count("llm_proxy_alert") == 2, "other sinks have alerts, too"
    assert kinds.count("llm_proxy_budget") == 3
