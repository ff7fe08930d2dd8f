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
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mitmproxy import version

from scripts.client.proxy_process import OwnProxy, StartFailed
from scripts.quickstart import report
from store.core.file_locks import claim
from store.database.location import StoreLocation
from store.tokens.store import TokenStore
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
        [sys.executable, "-P", "-m", "llmproxy", "up", "--data", str(data), *arguments],
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
            [
                sys.executable,
                "-P",
                "-m",
                "llmproxy",
                "up",
                "--data",
                str(data),
                *PORTS,
                *arguments,
            ],
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

    def exports(self) -> dict[str, str]:
        """The lines that put a client behind the proxy."""
        lines = [line for line in self.output().splitlines() if line.strip().startswith("export ")]
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
    event = running.events()[0]
    assert (event["outcome"], event["status"], event["stream"]) == ("ok", 200, True)
    assert float(event["cost"]["usd"]) > 0
    lines = shown[shown.index("Its event, as") :].splitlines()[1:6]
    assert [line.split()[0] for line in lines] == ["call", "outcome", "paid", "usage", "cost"]
    for line, said in zip(
        lines, [event["model"], "ok, status 200", event["token_id"], "by api"], strict=False
    ):
        assert said in line
    assert f"${event['cost']['usd']}" in lines[4]


def test_the_lines_to_paste_come_last(running: Running) -> None:
    *_, last, blank, end = running.output().partition("Ctrl-C stops.")[0].splitlines()
    assert last.strip().startswith("export ")
    assert (blank, end.startswith("Running;")) == ("", True)


def test_the_line_of_a_refused_call_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    event = {
        "type": "llm_proxy_usage",
        "timestamp": "2026-11-29T10:11:12.000Z",
        "outcome": "refused",
        "status": 403,
        "path": "/v1/chat/completions",
        "project_name": "search",
        "token_id": "01a2",
        "error": {"code": "model_not_allowed", "message": "The model 'o3' is not allowed. \x1b[31mAsk."},
    }
    report.one_line(event)
    shown = capsys.readouterr().out
    said = "refused: model_not_allowed: The model 'o3' is not allowed."
    assert f"403  /v1/chat/completions  project search  token 01a2  {said}" in shown
    assert "\x1b" not in shown
    report.one_line(event | {"error": {"code": "insufficient_quota", "message": f"\x1b[31m{'much ' * 90}"}})
    *_, reason = capsys.readouterr().out.rstrip("\n").partition("refused: insufficient_quota: ")
    assert reason.startswith(r"\x1b[31mmuch much")
    assert len(reason) == report.LONGEST_REASON
    quoting = {"outcome": "http_error", "error": {"code": "bad", "message": "What you asked was: my secret"}}
    report.one_line(event | quoting)
    assert capsys.readouterr().out.endswith("token 01a2  http_error: bad\n")
    report.one_line(event | {"outcome": "upstream_aborted", "error": {"code": None}})
    assert capsys.readouterr().out.endswith("token 01a2  upstream_aborted\n")


def test_a_live_line_says_what_its_client_was_told(running: Running) -> None:
    exports = running.exports()
    url = f"{exports['OPENAI_BASE_URL']}/chat/completions"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": "Bearer sk-llmp-mistyped"}
    answer = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=30)
    assert answer.json()["error"]["message"].startswith("The proxy token is not known here. ")
    said = "refused: invalid_api_key: The proxy token is not known here.\n"
    wait_for(lambda: said in running.output(), "a line that says why")
    first = running.events()[0]["token_id"]
    assert f"{first}\n" not in running.output().partition("Running;")[2], "the first call is shown once"


def test_the_line_of_a_call_has_its_cost_or_says_that_there_is_no_price(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = {"type": "llm_proxy_usage", "outcome": "ok", "status": 200, "usage": {"total_tokens": 7}}
    report.one_line(call | {"cost": {"usd": "0.25"}})
    assert capsys.readouterr().out == "200  7 tokens  $0.25\n"
    report.one_line(call | {"cost": {"usd": None}})
    assert capsys.readouterr().out == "200  7 tokens  no price\n"
    report.one_line({"type": "llm_proxy_session", "outcome": "ok", "status": 101, "responses": 2})
    assert capsys.readouterr().out == "101  session over, answers: 2\n"
    report.one_line({"type": "llm_proxy_writer", "status": 1})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("without", ["OPENAI_BASE_URL", "HTTPS_PROXY"])
def test_the_printed_lines_work_for_the_sdk(running: Running, without: str) -> None:
    """All of them, as either way on its own."""
    user = f"user-{without}"
    exports = {name: text for name, text in running.exports().items() if name.upper() != without}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT.replace("USER", user)],
        env=environment(**exports),
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


SOCKETS = {
    "realtime": """
import openai
with openai.OpenAI().realtime.connect(model="gpt-realtime") as session:
    session.response.create()
    for event in session:
        if event.type == "response.done": break
print(event.response.usage.total_tokens)""",
    "responses": """
import openai
with openai.OpenAI().responses.connect() as socket:
    socket.response.create(model="gpt-4o-mini", input="Say hello.")
    for event in socket:
        if event.type == "response.completed": break
print(event.response.usage.total_tokens)""",
}


@pytest.mark.parametrize("without", ["OPENAI_BASE_URL", "HTTPS_PROXY"])
@pytest.mark.parametrize("endpoint", SOCKETS)
def test_the_printed_lines_work_for_sessions(running: Running, endpoint: str, without: str) -> None:
    before = len(running.events())
    exports = {name: text for name, text in running.exports().items() if name.upper() != without}
    done = subprocess.run(
        [sys.executable, "-c", SOCKETS[endpoint]],
        env=environment(**exports),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def ended() -> dict[str, Any] | None:
        of_it = [event for event in running.events()[before:] if event.get("endpoint") == endpoint]
        found = {event["type"]: event for event in of_it}
        return found if len(found) > 1 else None

    found = wait_for(ended, "the answer and the session")
    assert set(found) == {"llm_proxy_usage", "llm_proxy_session"}
    answer = found["llm_proxy_usage"]
    assert answer["usage"]["total_tokens"] == int(done.stdout)
    assert float(answer["cost"]["usd"]) > 0
    wait_for(lambda: f"/v1/{endpoint}" in running.output() and "session over" in running.output(), "lines")


@pytest.mark.slow
def test_a_cloudwatch_to_look_into(tmp_path: Path) -> None:
    done = up(tmp_path, *PORTS, "--once", "--cloudwatch", "demo")
    assert done.returncode == 0, done.stderr + done.stdout
    _, _, rest = (done.stdout + done.stderr).partition("The same in CloudWatch Logs")
    message = json.loads(rest.splitlines()[1])
    event = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[0])
    assert message["event_id"] == event["event_id"]
    assert message["usage"]["output_tokens"] == 18


def test_a_mistyped_option_of_the_proxy_stops_the_start(tmp_path: Path) -> None:
    done = up(tmp_path, *PORTS, "--once", "--set", "llm_on_abort=drian")
    assert done.returncode == 1
    assert "llm_on_abort='drian'" in done.stderr


def test_ctrl_c_drains_and_stops_all(running: Running) -> None:
    """Comes last: it ends the process that the tests above share."""
    assert len(running.children) >= 2, "the proxy and the dispatcher"
    exports = running.exports()
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


def test_a_data_folder_in_use_is_refused_at_once(tmp_path: Path) -> None:
    held = claim(tmp_path / "up.lock")
    assert held is not None
    try:
        done = up(tmp_path, "--once", *PORTS)
    finally:
        os.close(held)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Error: {tmp_path} is in use by another `up`; stop that one, or choose a folder with --data."
    )
    assert not (tmp_path / "store.db").exists()


def test_a_port_that_another_program_took_is_not_taken_for_the_proxy(tmp_path: Path) -> None:
    """One that listens between the check and the proxy's start: what accepts connections is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = OwnProxy(StoreLocation.of(tmp_path / "store.db"), tmp_path / "spool")
        own._listening = replace(own._listening, port=port)
        with pytest.raises(StartFailed, match="the proxy ended at once"), own:
            pass


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
