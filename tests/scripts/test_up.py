"""``scripts/up`` as a new user runs it: real processes, and a real client fed with the lines it prints."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mitmproxy import version

from store.tokens import TokenStore
from tests.dispatch import cloudwatch
from tests.live.harness import wait_for

pytestmark = pytest.mark.live

PORTS = ["--port", "0", "--reverse-port", "0"]
CLIENT = """
import openai
answer = openai.OpenAI().chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], user="USER")
print(answer.choices[0].message.content)
"""


def environment(**extra: str) -> dict[str, str]:
    """Without what a developer's shell may hold."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLMPROXY_"))
    }
    for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "NO_PROXY"):
        ours.pop(name, None)
        ours.pop(name.lower(), None)
    return ours | extra


def up(data: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "scripts.up_command", "--data", str(data), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(**extra),
    )


class Running:
    """``scripts/up`` in the background."""

    def __init__(self, data: Path, *arguments: str, **extra: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.up_command", "--data", str(data), *PORTS, *arguments],
            stdout=(data / "output").open("wb"),
            stderr=subprocess.STDOUT,
            env=environment(**extra),
        )
        try:
            wait_for(
                lambda: "Ctrl-C stops" in self.output() or self.process.poll() is not None, "running", 60
            )
        except AssertionError:
            self.process.kill()
            raise
        assert self.process.poll() is None, self.output()
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def output(self) -> str:
        return (self.data / "output").read_text()

    def ways(self) -> tuple[dict[str, str], dict[str, str]]:
        """The exports of the two ways to point a client at the proxy."""
        first, second = self.output().split("\nor\n")[:2]
        return self._exports(first), self._exports(second)

    def _exports(self, text: str) -> dict[str, str]:
        lines = [line for line in text.splitlines() if line.strip().startswith("export ")]
        return dict(re.findall(r"(\w+)=(\S+)", "\n".join(lines)))

    def events(self) -> list[dict[str, Any]]:
        lines = (self.data / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("up"))
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait(10)


def test_the_first_call_and_its_event_are_shown(running: Running) -> None:
    shown = running.output()
    assert shown.startswith("No OPENAI_API_KEY: a local stand-in for the API answers at http://127.0.0.1:")
    event = json.loads(shown[shown.index("{\n") : shown.index("\n}") + 2])
    assert event == running.events()[0]
    assert (event["outcome"], event["status"], event["stream"]) == ("ok", 200, True)
    assert event["usage"]["source"] == "api"
    assert float(event["cost"]["usd"]) > 0


@pytest.mark.parametrize("number", [0, 1], ids=["HTTPS_PROXY", "OPENAI_BASE_URL"])
def test_the_printed_lines_work_for_the_sdk(running: Running, number: int) -> None:
    user = f"user-{number}"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT.replace("USER", user)],
        env=environment(**running.ways()[number]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    event = wait_for(
        lambda: [event for event in running.events() if (event["user"] or {}).get("id") == user], "its event"
    )[0]
    assert (event["outcome"], event["model"]) == ("ok", "gpt-4o-mini")
    wait_for(lambda: "200  /v1/chat/completions  gpt-4o-mini" in running.output(), "a line for the call")


def test_ctrl_c_drains_and_stops_all(running: Running) -> None:
    """Comes last: it ends the process that the tests above share."""
    assert len(running.children) >= 2, "the proxy and the dispatcher"
    _, exports = running.ways()
    url, header = f"{exports['OPENAI_BASE_URL']}/models", f"Authorization: Bearer {exports['OPENAI_API_KEY']}"
    for _ in range(20):
        subprocess.run(["curl", "-sSf", "-o", os.devnull, "-H", header, url], check=True, timeout=30)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0, running.output()
    assert f"Events are in {running.data / 'events.jsonl'}" in running.output()
    assert sum(event["endpoint"] == "models" for event in running.events() if "endpoint" in event) == 20
    assert not any(child.is_running() for child in running.children)


def test_a_second_start_keeps_what_there_is(tmp_path: Path) -> None:
    first, second = up(tmp_path, "--once", *PORTS), up(tmp_path, "--once", *PORTS)
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stderr
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    calls = [event for event in events if event["type"] == "llm_proxy_usage"]
    assert len(calls) == 2
    assert len({call["project_id"] for call in calls}) == 1
    assert len({call["token_id"] for call in calls}) == 2


def test_the_real_key_goes_encrypted_to_the_store_and_nowhere_else(tmp_path: Path) -> None:
    key = "sk-test-" + "k" * 40
    done = up(tmp_path, "--once", "--no-call", *PORTS, OPENAI_API_KEY=key)
    assert done.returncode == 0, done.stderr
    assert "stand-in" not in done.stdout
    store = TokenStore.open(tmp_path / "store.db")
    assert store.api_key("default").reveal() == key
    store.close()
    assert (tmp_path / "store.db").stat().st_mode & 0o077 == 0
    holders = [
        path.name for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()
    ]
    assert holders == [], "the store holds it encrypted"
    assert key not in done.stdout + done.stderr


def test_a_port_that_is_taken_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        begun = time.monotonic()
        done = up(tmp_path, "--once", "--port", port, "--reverse-port", "0")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Error: port {port} can't be listened on (Address already in use); choose another with --port."
    )
    assert time.monotonic() - begun < 30


def test_a_proxy_token_as_key_is_refused(tmp_path: Path) -> None:
    done = up(tmp_path, "--once", OPENAI_API_KEY="sk-proxy-abc")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: OPENAI_API_KEY holds a proxy token")
    assert not (tmp_path / "store.db").exists()


def test_mitmweb_shows_its_address(tmp_path: Path) -> None:
    done = up(tmp_path, "--once", "--web", "--web-port", "0", *PORTS)
    if version.VERSION.startswith("11."):
        assert done.returncode == 1
        assert "CVE-2025-23217" in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"Look at calls as they happen: http://127\.0\.0\.1:\d+/\?token=", done.stdout)


AWS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


def test_events_go_to_cloudwatch_too(tmp_path: Path) -> None:
    with cloudwatch.moto_server() as address:
        group = ["--log-group", "/llm/usage", "--region", cloudwatch.REGION, "--endpoint-url", address]
        done = up(tmp_path, "--once", *group, *PORTS, **AWS)
        assert done.returncode == 0, done.stdout + done.stderr
        stored = cloudwatch.stored(address, "/llm/usage")
    written = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["type"] for event in stored] == ["llm_proxy_usage", "llm_proxy_writer"]
    assert [event["event_id"] for event in stored] == [event["event_id"] for event in written]


def test_a_cloudwatch_that_is_not_there_loses_nothing(tmp_path: Path) -> None:
    gone = ["--log-group", "/llm/usage", "--region", "eu-central-1", "--endpoint-url", "http://127.0.0.1:9"]
    done = up(tmp_path, "--once", *gone, *PORTS, **AWS)
    assert done.returncode == 1
    assert "the spool could not be drained" in done.stderr
    assert "cloudwatch: " in done.stderr
    assert any(b"llm_proxy_usage" in path.read_bytes() for path in (tmp_path / "spool").glob("*.jsonl"))


def test_options_of_cloudwatch_without_a_group(tmp_path: Path) -> None:
    done = up(tmp_path, "--once", "--region", "eu-central-1")
    assert done.returncode == 2
    assert "--region is of use only with --log-group." in done.stderr
