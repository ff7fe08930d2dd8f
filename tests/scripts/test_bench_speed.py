"""``scripts/bench``: what is measured becomes JSON, and of that the tables of docs/performance.md."""

from __future__ import annotations

import http.server
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from scripts.benchmarks.__main__ import main
from scripts.benchmarks.speed import contenders, results, startup
from scripts.benchmarks.speed.everything import MEASUREMENTS
from scripts.benchmarks.speed.load import Door

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
ROW = {
    "contender": "bundle",
    "connections": 16,
    "bytes": 2048,
    "requests_per_second": 1234,
    "of_bare": 0.71,
    "of_bare_least": 0.7,
    "of_bare_most": 0.75,
    "cpu_ms": None,
    "cpu_of_bare": None,
    "p50_ms": 12.34,
    "p99_ms": 20.0,
    "added_p50_ms": 1.0,
    "added_p99_ms": 2.0,
    "memory_mib": 170,
}
FOUND: dict[str, Any] = {
    "date": "2026-11-30",
    "machine": {"cpu": "a CPU", "cores": 2, "memory_gib": 8, "system": "Linux 6", "load": 0.1},
    "versions": {"python": "3.13.0", "mitmproxy": "12.2.3"},
    "contenders": [{"name": "bundle", "version": "mitmproxy 12.2.3", "settings": "`-q`"}],
    "sections": {"requests": [ROW]},
    "problems": ["Portkey gateway: 500"],
    "seconds": 700,
}


def test_the_page_has_a_place_for_each_table() -> None:
    marked = [match[2] for match in results.MARKED.finditer(PAGE.read_text())]
    assert sorted(marked) == sorted(results.ORDER)
    assert {*MEASUREMENTS, "machine"} == set(results.ORDER)
    assert set(results.COLUMNS) == set(MEASUREMENTS)


def test_tables_are_put_into_a_page_and_the_rest_stays(tmp_path: Path) -> None:
    page, file = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text(
        "# Title\n<!-- bench:machine -->\nold\n<!-- /bench -->\nprose\n<!-- bench:requests -->\nold\n"
        "<!-- /bench -->\n<!-- bench:streams -->\nkept\n<!-- /bench -->\nend\n"
    )
    file.write_text(json.dumps(FOUND))
    done = CliRunner().invoke(main, ["render", str(file), "--page", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "| bundle | 1,234 | 0.71 (0.70 to 0.75) |  |  | 12.3, 20.0 | 1.0, 2.0 | 170 |" in text
    assert "a CPU, 2 cores, 8 GiB" in text
    assert "- Not measured: Portkey gateway: 500" in text
    assert "old" not in text
    assert text.endswith("<!-- bench:streams -->\nkept\n<!-- /bench -->\nend\n")
    CliRunner().invoke(main, ["render", str(file), "--page", str(page)])
    assert page.read_text() == text


def test_a_page_without_a_marker_is_left_alone(tmp_path: Path) -> None:
    page, file = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("<!-- bench:machine -->\n<!-- /bench -->\n")
    file.write_text(json.dumps(FOUND))
    done = CliRunner().invoke(main, ["render", str(file), "--page", str(page)])
    assert done.exit_code == 1
    assert "has no marker <!-- bench:requests -->" in done.output
    assert page.read_text() == "<!-- bench:machine -->\n<!-- /bench -->\n"


def test_a_contender_that_nobody_knows() -> None:
    done = CliRunner().invoke(main, ["http", "--against", "bare,kong"])
    assert done.exit_code == 2
    assert "there is no 'kong'; choose of bare, litellm, portkey." in done.output


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.live
def test_everything_once(tmp_path: Path) -> None:
    """With the shortest times, which say nothing: that there are figures, and for whom, is held."""
    file = tmp_path / "found.json"
    short = ["--only", "connect", "--only", "startup", "--pace", "0.1"]
    done = CliRunner().invoke(main, ["all", *short, "--output", str(file), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(file.read_text())
    assert found == json.loads(done.stdout)
    assert found["problems"] == []
    rows = found["sections"]["connect"]
    assert [(row["way"], row["contender"]) for row in rows] == [
        ("OPENAI_BASE_URL", "bare mitmdump"),
        ("OPENAI_BASE_URL", "bundle"),
        ("HTTPS_PROXY", "bare mitmdump"),
        ("HTTPS_PROXY", "bundle"),
    ]
    assert all(row["requests_per_second"] > 0 and row["cpu_ms"] > 0 for row in rows)
    assert "`llmproxy --help`" in {row["what"] for row in found["sections"]["startup"]}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(600)
def test_requests_and_streams_beside_no_proxy() -> None:
    short = ["--rounds", "1", "--json"]
    done = CliRunner().invoke(
        main, ["http", "--seconds", "0.3", "--limits", "owned", "--against", "", *short]
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["sections"]["requests"]
    assert [row["contender"] for row in rows] == ["no proxy", "bundle, `owned`"]
    assert rows[1]["added_p50_ms"] > 0
    done = CliRunner().invoke(main, ["stream", "--streams", "3", "--coding", "gzip", "--against", "", *short])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["sections"]["streams"]
    assert [(row["contender"], row["events"]) for row in rows] == [("no proxy", 450), ("bundle", 450)]


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers each request with an error."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"no")

    def log_message(self, *_: object) -> None:
        pass


def test_one_that_answers_with_errors_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "WRONG_SECONDS", 0.3)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        who = contenders.Running(contenders.direct(server.server_port), Door(server.server_port, ()), None)
        begun = time.monotonic()
        with pytest.raises(click.ClickException, match="500"):
            contenders._wait_until_ready(who)
        assert time.monotonic() - begun < 30
        server.shutdown()


def test_one_that_does_not_start_or_is_slow_has_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(startup, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(startup, "COMMANDS", {})

    def start(one: contenders.Contender) -> dict[str, float | None]:
        started.append(one.name)
        if one.name == "broken":
            raise click.ClickException("broken: it does not start")
        return {"seconds": 1.0, "memory_mib": None}

    monkeypatch.setattr(startup, "_start", start)
    bare, broken, slow = (contenders.Contender(name, "", "") for name in ("bare", "broken", "slow"))
    current: Any = SimpleNamespace(
        bare=lambda: [bare],
        mitmdump=SimpleNamespace(bundle=lambda *given: contenders.Contender(" ".join(given), "", "")),
        peers=lambda: [broken, slow],
        contenders={},
        problems=[],
        say=lambda _: None,
    )
    rows = startup.starts(current, rounds=3)
    assert (started.count("bare"), started.count("broken"), started.count("slow")) == (3, 1, 1)
    assert "broken" not in [row["what"] for row in rows]
    assert current.problems == ["broken: it does not start"]
