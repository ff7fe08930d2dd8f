"""``llmproxy dispatch``: what the command puts around the sinks."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from scripts.cli import main
from store.spool import open_spool
from store.tokens.store import TokenStore
from tests.dispatch.conftest import usage_event, write
from tests.store.test_journal import die


@pytest.fixture(autouse=True)
def _collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector stays as it is: the command has a process for itself, tests share one."""
    monkeypatch.setattr("scripts.commands.dispatch._spare_the_collector", lambda: None)


def dispatch(tmp_path: Path, *arguments: str, **env: str) -> Result:
    places = ["--store", str(tmp_path / "store.db"), "--spool", str(tmp_path / "spool")]
    to_a_file = ["--service", "file", "--output", str(tmp_path / "out.jsonl"), "--json"]
    return CliRunner().invoke(main, [*places, "dispatch", "--once", *to_a_file, *arguments], env=env)


@pytest.mark.parametrize(
    ("bus", "said"),
    [("amqp://127.0.0.1", "write one of redis://"), ("redis://127.0.0.1:x", "no host and port")],
)
def test_a_bus_that_is_none_is_named(tmp_path: Path, bus: str, said: str) -> None:
    done = dispatch(tmp_path, "--bus", bus)
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("has_store", [True, False])
def test_a_call_that_a_death_cut_off_is_priced(tmp_path: Path, has_store: bool) -> None:
    """By the prices of the store; without one, by those of the program."""
    if has_store:
        TokenStore.open(tmp_path / "store.db").close()
    writer, journal = open_spool(tmp_path / "spool")
    usage = {"input_tokens": 10**6, "output_tokens": 0, "total_tokens": 10**6, "source": "estimated"}
    writer.append([usage_event(2)])
    call = usage_event(1, usage=usage, cost=None)
    del call["type"]
    journal.opened(call)
    die(writer, journal)
    assert dispatch(tmp_path).exit_code == 0
    (call,) = [
        event
        for event in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
        if event.get("outcome") == "proxy_died"
    ]
    assert call["cost"]["usd"] == "0.15"


def test_projects_are_reconciled_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "spool", [usage_event(1)])
    TokenStore.open(tmp_path / "store.db").close()
    assert dispatch(tmp_path, "--reconcile", "nobody").exit_code == 0
    assert "reconciliation of project 'nobody'" in caplog.text


def test_metrics_are_served_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "spool", [usage_event(1)])
    said: list[str] = []

    def look(totals: object) -> None:
        said.append(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr("dispatch.sinks.file.FileSink.close", look)
    done = dispatch(tmp_path, "--metrics-port", str(port))
    assert done.exit_code == 0, done.output
    assert 'llmproxy_dispatch_sent_total{sink="file"} 2.0' in said[0]
