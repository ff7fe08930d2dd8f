"""From the proxy over Redis to dispatchers on other machines, of which one is killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests import nursery
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.store.test_bus import bus  # noqa: F401 - a fixture

pytest.importorskip("redis", reason="redis-py is not installed (llmproxy[redis])")


def dispatcher(url: str, output: Path) -> nursery.Child:
    arguments = ["--bus", url, "--service", "file", "--output", str(output), "--follow"]
    # Elsewhere: there is no spool where it runs.
    command = [sys.executable, "-m", "scripts.cli", "--spool", "/nonexistent", "dispatch", *arguments]
    return nursery.start(command)


def delivered(*outputs: Path) -> set[str]:
    lines = [line for path in outputs if path.exists() for line in path.read_text().splitlines()]
    return {record["event_id"] for record in map(json.loads, lines) if record["type"] == "llm_proxy_usage"}


def test_events_reach_dispatchers_elsewhere(
    start_proxy: StartProxy,
    tenant: Tenant,
    bus: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, token = tenant.token()
    proxy = start_proxy(f"llm_bus={bus}")
    outputs = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    processes = [dispatcher(bus, output) for output in outputs]
    try:
        url = f"{proxy.reverse_url}/v1/chat/completions"
        with httpx.Client(trust_env=False, timeout=30) as client:
            for number in range(40):
                body = {"model": MODEL, "messages": HELLO}
                assert client.post(url, headers=authorised(token), json=body).status_code == 200
                if number == 20:
                    wait_for(lambda: delivered(*outputs), "something is delivered", 60)
                    processes[0].kill()
        calls = {call["event_id"] for call in proxy.wait_calls(40)}
        wait_for(lambda: delivered(*outputs) >= calls, "all of them are delivered", 90)
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize(
    ("option", "said"),
    [("llm_bus=http://x", "write one of redis://"), ("llm_bus=redis://:secret@h:port", "option llm_bus")],
)
def test_a_bus_that_cannot_be_used_stops_the_start(tmp_path: Path, option: str, said: str) -> None:
    proxy = Proxy(tmp_path, [option])
    proxy.launch()
    assert proxy.wait() == 1
    assert said in proxy.output
    assert "secret" not in proxy.output
