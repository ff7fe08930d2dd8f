"""``llmproxy report`` and the views of the store."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from scripts.cli import main
from scripts.commands.figures.report_periods import bounds_of
from store.core.times import time_zone
from store.database.engines import engine_of
from store.database.sqlite.views import VIEWS
from store.ledger import Finished, LedgerWorker
from store.spool import SpoolWriter
from store.spool.usage_checkpoint import UsageCheckpoint
from store.tokens import limits
from store.tokens.store import TokenStore
from store.usage.rollups import RollUps, line_of
from tests.events import typed
from tests.live.harness import ROOT, wait_for
from tests.store.usage.test_rollups import event

DATASETTE = ROOT / "docs" / "datasette.yaml"
KEY = "sk-real-0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two projects, of which one has made calls."""
    path = tmp_path / "store.db"
    tokens = TokenStore.open(path)
    acme, other = (tokens.create_project(name, KEY) for name in ("acme", "other"))
    token, _ = tokens.create_token(acme.id, metadata={"team": "search"})
    tokens.create_token(other.id)
    tokens.close()
    made = {"project_id": acme.id, "token_id": token.id}
    connection = engine_of(path).connect()
    calls = [
        event(**made),
        event(**made, user={"id": "=1+[bold]"}, model="o3", cost={"usd": None}),
        event(**made, outcome="refused", usage=None, cost=None, timestamp="2026-11-26T00:00:00Z"),
    ]
    with connection.transaction():
        RollUps().add(connection, [line_of(typed(each)) for each in calls])
    connection.close()
    return path


def run(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(store), "report", *arguments])


def rows(store: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(store, "usage", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def test_usage_of_projects(store: Path) -> None:
    (row,) = rows(store)
    assert (row["project_name"], row["calls"], row["refused"], row["failed"]) == ("acme", 3, 1, 0)
    assert (row["usd"], row["unpriced"], row["input_tokens"]) == ("0.0000111", 1, 20)
    assert rows(store, "--project", "other") == []
    shown = run(store, "usage").output.splitlines()
    assert "acme" in shown[1]
    assert shown[-1].split()[:4] == ["total", "3", "1", "0"]


def test_usage_by_several_things_in_a_range(store: Path) -> None:
    found = rows(store, "--by", "day", "--by", "model", "--until", "2026-11-26")
    assert [(row["day"], row["model"], row["calls"]) for row in found] == [
        ("2026-11-25", "gpt-4o-mini", 1),
        ("2026-11-25", "o3", 1),
    ]
    assert len(rows(store, "--by", "hour", "--since", "2026-11-26")) == 1


def test_tokens_are_shown_with_what_they_are_known_by(store: Path) -> None:
    (row,) = rows(store, "--by", "token")
    assert (row["calls"], row["token_metadata"]) == (3, {"team": "search"})
    assert row["token_prefix"].startswith("sk-llmp-")
    assert "team=search" in run(store, "usage", "--by", "token").output
    (row,) = csv.DictReader(io.StringIO(run(store, "usage", "--by", "token", "--csv").output))
    assert json.loads(row["token_metadata"]) == {"team": "search"}


def test_what_clients_write_is_shown_as_it_is(store: Path) -> None:
    assert "=1+[bold]" in run(store, "usage", "--by", "user").output
    found = list(csv.DictReader(io.StringIO(run(store, "usage", "--by", "user", "--csv").output)))
    assert {row["user"] for row in found} == {"ada", "'=1+[bold]"}, "no formula for a spreadsheet"


def test_wrong_questions(store: Path, tmp_path: Path) -> None:
    assert run(store, "usage", "--by", "colour").exit_code == 2
    assert run(store, "usage", "--csv", "--json").exit_code == 2
    assert run(store, "usage", "--project", "nobody").exit_code == 1
    missing = run(tmp_path / "typo.db", "usage")
    assert missing.exit_code == 1
    assert "there is no token store" in missing.output


def test_what_is_left_out_is_said(store: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    living, dead = SpoolWriter(spool), SpoolWriter(spool)
    marks = [UsageCheckpoint(spool, writer.writer) for writer in (living, dead)]
    dead.append([event()])
    dead.close()
    marks[1].close(whole=False)
    places = ["--store", str(store), "--spool", str(spool)]
    for verb in ("usage", "budgets"):
        result = CliRunner().invoke(main, [*places, "report", verb, "--json"])
        assert "The last calls of 1 proxies" in result.stderr
        json.loads(result.stdout)
    result = CliRunner().invoke(main, [*places, "spool", "status"])
    assert "The last calls of 1 writers are not counted" in result.output
    living.close()
    marks[0].close(whole=True)


def test_nothing_was_called_yet(tmp_path: Path) -> None:
    TokenStore.open(tmp_path / "store.db").close()
    assert "There are no calls." in run(tmp_path / "store.db", "usage").output
    assert rows(tmp_path / "store.db") == []


def test_budgets(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    tokens = TokenStore.open(path)
    budgets = {"usd": {"month": "5", "total": "20"}, "tokens": {"month": 100}}
    acme = tokens.create_project("acme", KEY, limits=limits.of({"budgets": budgets}))
    token, _ = tokens.create_token(acme.id, limits=limits.of({"budgets": {"usd": {"week": "2"}}}))
    revoked, _ = tokens.create_token(acme.id, limits=limits.of({"budgets": {"usd": {"week": "2"}}}))
    tokens.revoke_token(revoked.id)
    tokens.create_project("other", KEY, limits=limits.of({"budgets": {"usd": {"day": "1"}}}))
    tokens.close()
    worker = LedgerWorker(engine_of(path))
    call = Finished(
        "c", token.id, acme.id, time.time(), "ok", "chat", 1, total_tokens=60, nano_usd=16 * 10**8
    )
    worker.finish([call], "w").result(30)
    worker.close()

    result = run(path, "budgets", "--json", "--project", "acme")
    found = {(row["side"], row["limit"]): row for row in json.loads(result.output)}
    assert list(found) == [
        ("token", "usd/week"),
        ("project", "tokens/month"),
        ("project", "usd/month"),
        ("project", "usd/total"),
    ]
    week = found["token", "usd/week"]
    assert (week["allowed"], week["used"], week["held"], week["left"]) == ("2", "1.60", "0", "0.40")
    assert (week["percent"], week["reached"], week["token"]) == (80.0, 80, token.id)
    assert week["resets_at"].endswith("T00:00:00.000Z")
    month, total = found["project", "tokens/month"], found["project", "usd/total"]
    assert (month["used"], month["left"], month["reached"]) == (60, 40, 50)
    assert (total["reached"], total["resets_at"], total["token"]) == (None, None, None)
    assert len(json.loads(run(path, "budgets", "--json").output)) == 5

    with sqlite3.connect(path) as database:
        database.row_factory = sqlite3.Row
        view = {(row["side"], row["budget"]): row for row in database.execute("SELECT * FROM budgets")}
    for key, row in found.items():
        shown = view[key]
        assert (shown["allowed"], shown["used"]) == (float(row["allowed"]), float(row["used"])), key
        assert shown["percent"] == row["percent"]
        ends = None if row["resets_at"] is None else row["resets_at"][:19].replace("T", " ")
        assert shown["resets_at"] == ends


def test_no_view_shows_a_secret(store: Path) -> None:
    with sqlite3.connect(store) as database:
        hidden = {str(value) for (value,) in database.execute("SELECT api_key FROM projects")}
        hidden |= {str(value) for (value,) in database.execute("SELECT sha256 FROM tokens")} | {KEY}
        shown = ""
        for view in VIEWS:
            columns = database.execute(f"SELECT * FROM {view}")
            shown += json.dumps([column[0] for column in columns.description]) + json.dumps(
                columns.fetchall()
            )
    assert "acme" in shown
    assert not [secret for secret in hidden if secret in shown]


def report(store: Path, *arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["--store", str(store), "report", "usage", "--json", *arguments])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_groups_beyond_the_largest_are_one_row(store: Path) -> None:
    rows = report(store, "--by", "model", "--top", "1")
    assert [row["model"] for row in rows] == ["gpt-4o-mini", "(others)"]
    assert sum(row["calls"] for row in rows) == 3


def test_labels_tell_apart(store: Path) -> None:
    (row,) = report(store, "--by", "label:team")
    assert (row["label:team"], row["calls"]) == ("search", 3)


def test_a_figure_sorts(store: Path) -> None:
    calls = [row["calls"] for row in report(store, "--by", "day", "--by", "model", "--sort", "calls")]
    assert calls == sorted(calls, reverse=True)
    assert len(calls) > 1


def test_the_time_before_stands_beside(store: Path) -> None:
    one_day = ("--since", "2026-11-26", "--until", "2026-11-27")
    (row,) = report(store, "--by", "project", "--compare", *one_day)
    assert (row["calls"], row["before_calls"]) == (1, 2)
    table = CliRunner().invoke(
        main, ["--store", str(store), "report", "usage", "--compare", *one_day, "--by", "project"]
    )
    assert "before_usd" in table.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("period", "zone", "first", "end"),
    [
        ("today", "UTC", "2026-11-29T00:00+00:00", "2026-11-30T00:00+00:00"),
        ("yesterday", "Europe/Berlin", "2026-11-28T00:00+01:00", "2026-11-29T00:00+01:00"),
        ("this-week", "UTC", "2026-11-23T00:00+00:00", "2026-11-30T00:00+00:00"),
        ("last-week", "UTC", "2026-11-16T00:00+00:00", "2026-11-23T00:00+00:00"),
        ("this-month", "UTC", "2026-11-01T00:00+00:00", "2026-12-01T00:00+00:00"),
        ("last-month", "Europe/Berlin", "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
    ],
)
def test_named_periods(period: str, zone: str, first: str, end: str) -> None:
    now = datetime(2026, 11, 29, 22, 30, tzinfo=UTC)
    found = bounds_of(period, now, time_zone(zone))
    assert found == (datetime.fromisoformat(first), datetime.fromisoformat(end))


def test_a_period_stands_alone(store: Path) -> None:
    arguments = ["--store", str(store), "report", "usage", "--period", "today", "--since", "1d"]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, "in place of --since" in done.output) == (2, True)


def test_a_period_bounds_what_is_counted(store: Path) -> None:
    now = datetime.now(UTC)
    connection = engine_of(store).connect()
    with connection.transaction():
        RollUps().add(connection, [line_of(typed(event(timestamp=now.isoformat(), model="of-today")))])
    connection.close()
    found = rows(store, "--period", "today", "--by", "model")
    assert [(row["model"], row["calls"]) for row in found if row["model"] == "of-today"] == [("of-today", 1)]
    assert "of-today" not in {row["model"] for row in rows(store, "--period", "yesterday", "--by", "model")}


def test_a_zone_that_does_not_exist_is_refused(store: Path) -> None:
    wrong = run(store, "usage", "--by", "day", "--tz", "Mars/Olympus")
    assert (wrong.exit_code, "Mars/Olympus" in wrong.output) == (2, True)


def test_help_names_every_way(store: Path) -> None:
    said = " ".join(run(store, "usage", "--help").output.split())
    assert "session|label:NAME]" in said.replace(" ", "")


def test_budgets_as_csv(store: Path) -> None:
    tokens = TokenStore.open(store)
    tokens.update_project("acme", limits=limits.of({"budgets": {"usd": {"day": "5"}}}))
    tokens.close()
    (row,) = csv.DictReader(io.StringIO(run(store, "budgets", "--csv").output))
    assert (row["project_name"], row["limit"], row["left"]) == ("acme", "usd/day", "5")


def test_no_hours_without_a_call(tmp_path: Path) -> None:
    TokenStore.open(tmp_path / "store.db").close()
    assert rows(tmp_path / "store.db", "--by", "day") == []


def test_a_page_needs_nothing_else(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["--by", "day", "--by", "user", "--html", str(page)]
    done = CliRunner().invoke(main, ["--store", str(store), "report", "usage", *arguments])
    assert (done.exit_code, done.stdout) == (0, "")
    text = page.read_text("utf-8")
    assert "<rect " in text
    assert "=1+[bold]" in text
    assert not re.search(r"(?:src|href)=", text), "nothing is loaded"


def test_names_in_a_page_are_no_markup(store: Path, tmp_path: Path) -> None:
    tokens = TokenStore.open(store)
    tokens.update_project("acme", name="<script>alert(1)</script>")
    tokens.close()
    page = tmp_path / "report.html"
    CliRunner().invoke(main, ["--store", str(store), "report", "usage", "--html", str(page)])
    assert "<script" not in page.read_text("utf-8")
    assert "&lt;script&gt;" in page.read_text("utf-8")


def test_what_datasette_is_told_hides_every_table_with_a_secret(store: Path) -> None:
    told = YAML(typ="safe").load(DATASETTE)["databases"]["store"]
    assert told["allow_sql"] is False
    hidden = {name for name, about in told["tables"].items() if about.get("allow") is False}
    with sqlite3.connect(store) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in tables:
            columns = {column[0] for column in database.execute(f"SELECT * FROM {table}").description}
            if columns & {"api_key", "sha256", "previous_sha256"}:
                assert table in hidden
    assert set(VIEWS) <= told["tables"].keys() - hidden
    assert told["tables"].keys() <= {*tables, *VIEWS}


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("datasette"), reason="datasette is not installed")
def test_the_store_opens_in_datasette(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["datasette", "serve", str(store), "--metadata", str(DATASETTE), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def get(path: str) -> httpx.Response:
            return httpx.get(f"http://127.0.0.1:{port}/store{path}", trust_env=False)

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return get(".json").status_code == 200
            return False

        try:
            wait_for(answers, "an answer", 60)
            for view in VIEWS:
                assert get(f"/{view}.json?_shape=array").status_code == 200, view
            (row,) = get("/usage_by_project.json?_shape=array").json()
            assert (row["project"], row["calls"]) == ("acme", 3)
            for path in ("/tokens.json", "/projects.json", "/audit.json", ".json?sql=select+1"):
                assert get(path).status_code == 403, path
        finally:
            process.terminate()


def test_views_of_usage(store: Path) -> None:
    with sqlite3.connect(store) as database:
        database.row_factory = sqlite3.Row
        months = [dict(row) for row in database.execute("SELECT * FROM usage_by_project")]
        tokens = [dict(row) for row in database.execute("SELECT * FROM tokens_in_use WHERE project = 'acme'")]
    assert [(row["month"], row["project"], row["calls"], row["usd"]) for row in months] == [
        ("2026-11", "acme", 3, 0.0000111)
    ]
    assert [json.loads(row["metadata"]) for row in tokens] == [{"team": "search"}]


def test_focus_for_tools_that_read_bills(store: Path) -> None:
    result = run(store, "focus", "--billing-account", "org-1", "--by", "hour", "--project", "acme")
    assert result.exit_code == 0, result.output
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {(row["SubAccountName"], row["SkuId"], row["x_UnpricedCalls"]) for row in found} == {
        ("acme", "gpt-4o-mini", "0"),
        ("acme", "o3", "1"),
    }
    assert {row["BillingAccountId"] for row in found} == {"org-1"}
    assert sum(float(row["BilledCost"]) for row in found) == 0.0000111
    assert run(store, "focus", "--period", "today", "--since", "1d").exit_code == 2
    assert run(store, "focus", "--project", "other").stdout == ""


def test_lower_bounds_and_estimates_are_in_reports(store: Path) -> None:
    connection = engine_of(store).connect()
    calls = [
        event(project_id="p", cost={"usd": "1", "reason": "lower_bound"}, model="bound"),
        event(project_id="p", cost={"usd": "1", "approximate": ["service_tier"]}, model="about"),
    ]
    with connection.transaction():
        RollUps().add(connection, [line_of(typed(each)) for each in calls])
    connection.close()
    found = {row["model"]: (row["lower_bound"], row["approximate"]) for row in rows(store, "--by", "model")}
    assert found == {"gpt-4o-mini": (0, 0), "o3": (0, 0), "bound": (1, 0), "about": (0, 1)}
    header, *_, total = run(store, "usage", "--by", "model").output.splitlines()
    sums = dict(zip(header.split(), total.split(), strict=True))
    assert (sums["unpriced"], sums["lower_bound"], sums["approximate"]) == ("1", "1", "1")
