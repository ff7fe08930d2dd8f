"""Every table at 80, 100 and 130 columns, in a terminal and in a pipe, on a store with names of all kinds."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import termios
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from addons.recording.reporter import process_facts
from scripts.cli import main
from store.core.event import UsageEvent
from store.core.event_fields import read_record, to_fields
from store.core.times import rfc3339
from store.database.engines import engine_of
from store.ledger import LedgerWorker, assumed
from store.ledger.assumed import Assumed
from store.ledger.finished import finished_of
from store.objects import table as objects
from store.objects.table import NewObject, Owner
from store.spool import SpoolReader
from store.spool.status_files import StatusFile

KEY = "sk-real-0123456789abcdef"
LONG = "customer-support-assistant-of-the-north-european-retail-division-2026"
WIDE = "検索ランキング基盤チーム（本番環境）"
PROJECTS = (LONG, WIDE, "ads", "search")
COSTS = ("0.0000111", "49.99998905", "1234567.5", "0.000000001")
MODELS = ("gpt-4o-mini", "ft:gpt-4o-mini-2024-07-18:northern-retail:support-assistant:9xKq2Lm1", "o3")
NEW_MODEL = "a-model-that-is-in-no-list-of-prices-yet"
SESSION = "019aa1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
WHOLE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
BEGUN = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
WIDTHS = (80, 100, 130)


def call(number: int, token: dict[str, Any], **fields: Any) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(minutes=90 - number)
    event = {
        **to_fields(UsageEvent()),
        "event_id": f"019aa1b2-0000-7000-8000-{number:012d}",
        "timestamp": rfc3339(at),
        "duration_ms": 1234,
        "outcome": "ok",
        "status": 200,
        "endpoint": "chat",
        "model": MODELS[number % len(MODELS)],
        "project_id": token["project_id"],
        "project_name": token["project_name"],
        "token_id": token["id"],
        "user": {"id": f"user-{number}@northern-retail-division.example.com"},
        "session": {"id": SESSION if number % 2 else "night run", "thread": "root", "source": "user"},
        "usage": {"input_tokens": 10**number, "output_tokens": 5, "total_tokens": 10**number + 5},
        "cost": {"usd": COSTS[number % len(COSTS)], "price_source": "test"},
        "writer": "w1",
        "seq": number + 1,
    }
    return event | fields


class World:
    """A store and a spool, and the commands on them."""

    def __init__(self, folder: Path) -> None:
        self.store, self.spool = folder / "store.db", folder / "spool"
        self.declared, self.recorded = folder / "declared.yaml", folder / "spool" / "w1.host.1.000001.jsonl"
        self.declared.write_text(
            f"projects: [{{name: {LONG}, metadata: {{owner: {WIDE}, purpose: {LONG}}}}}, "
            "{name: new, api_key: env:SEARCH_OPENAI_KEY, tokens: [{name: evaluation}]}]"
        )
        self.tokens = [token for name in PROJECTS for token in self._project(name)]
        self.events = [call(n, self.tokens[n % len(self.tokens)]) for n in range(8)]
        self.events[7] |= {"model": NEW_MODEL, "cost": {"usd": None, "reason": "model_unknown"}}
        self._calls()
        self._objects()
        self._processes()

    def _project(self, name: str) -> list[dict[str, Any]]:
        self.json("project", "create", name, "--api-key", KEY, "--budget", "1234567usd/month")
        self.json("management-token", "create", f"{name} desk", "--role", "project", "--project", name)
        return [
            {
                **self.json(
                    *("token", "create", "--project", name, "--metadata", f"team={WIDE}"),
                    *(
                        "--metadata",
                        "cost_centre=4711-0815",
                        "--budget",
                        "2usd/day",
                        "--budget",
                        "9usd/month",
                    ),
                    *("--session-budget", "1usd", "--rpm", "600", *names),
                ),
                "project_name": name,
            }
            for names in (("--name", f"token-of-{PROJECTS.index(name)}-in-the-production-environment"), ())
        ]

    def _calls(self) -> None:
        self.spool.mkdir()
        self.recorded.write_text("".join(json.dumps(event) + "\n" for event in self.events))
        worker = LedgerWorker(engine_of(self.store))
        worker.finish([finished_of(read_record(event, UsageEvent)) for event in self.events], "w1").result(30)
        worker.close()
        with closing(engine_of(self.store).connect()) as connection, connection.transaction():
            assumed.note(connection, [self._charge(event) for event in self.events[:3]])

    def _charge(self, event: dict[str, Any]) -> Assumed:
        at = int(datetime.fromisoformat(event["timestamp"]).timestamp())
        return Assumed(
            *(event["event_id"], event["token_id"], event["project_id"], "proxy_died", at // 3600, at),
            *(900, 70_000_000, 11, 1_234, at // 3600, "", event["model"], "chat"),
        )

    def _objects(self) -> None:
        with closing(engine_of(self.store).connect()) as connection, connection.transaction():
            owners = [Owner(token["project_id"], token["id"]) for token in self.tokens]
            batches = [
                NewObject(f"batch_{'67ab' * 8}{n}", "batch", owner, due=True, status="in_progress")
                for n, owner in enumerate(owners)
            ]
            responses = [
                NewObject(f"resp_{'0f1e' * 12}{n}", "response", owner) for n, owner in enumerate(owners)
            ]
            objects.remember(connection, [*batches, *responses, NewObject("file-1", "file", Owner(None))])

    def _processes(self) -> None:
        results = {"hit": 123456, "miss": 1, "slow": 2}
        kept = {"results": results, "entries": 4096, "bytes": 268435456, "evicted": 0}
        writer = "019aa1b2-7c3d-7e4f-8a5b-6c7d8e9f0aff"
        file = StatusFile(self.spool, writer)
        file.write(
            {
                **process_facts(writer),
                "at": rfc3339(datetime.now(UTC)),
                "cache": kept,
                "recorded": 1234567,
                "queue_length": 0,
                "open_calls": 12,
                "healthy": True,
            }
        )
        self.running = file  # whose lock says that it lives
        with SpoolReader(self.spool, "cloudwatch") as reader:
            batch = reader.read(max_events=2)
            record = batch.records[0]
            batch.bury(record.line, record.segment, record.offset, "too old: more than 14 days")
            reader.commit(batch)

    def arguments(self, *command: str) -> list[str]:
        return ["--store", str(self.store), "--spool", str(self.spool), *command]

    def run(self, *command: str) -> Result:
        return CliRunner().invoke(main, self.arguments(*command))

    def json(self, *command: str) -> Any:
        result = self.run(*command, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tables"))


def in_terminal(width: int, arguments: Sequence[str], *, colours: bool = False) -> list[str]:
    """The lines that a command writes to a terminal of this width, to both streams."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (50, width))
    written = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                written.extend(data)
        except OSError:
            return  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    columns = os.environ.pop("COLUMNS", None)
    held = sys.stdout, sys.stderr, sys.__stdout__
    stream = io.TextIOWrapper(os.fdopen(theirs, "wb", buffering=0), encoding="utf-8", write_through=True)
    sys.stdout = sys.stderr = sys.__stdout__ = stream  # type: ignore[misc]
    try:
        main.main(list(arguments), prog_name="llmproxy")
    except SystemExit:
        pass
    finally:
        sys.stdout, sys.stderr, sys.__stdout__ = held  # type: ignore[misc]
        os.environ |= {} if columns is None else {"COLUMNS": columns}
        stream.close()
        reader.join(10)
        os.close(ours)
    text = written.decode().replace("\r\n", "\n")
    return (text if colours else re.sub(r"\x1b\[[0-9;]*m", "", text)).splitlines()


USAGE = ("report", "usage")
TOKEN, CALLED = "TOKEN", "TOKEN/SESSION"
"""Stand for the first token's id, and for its session."""
TABLES: dict[str, tuple[str, ...]] = {
    "projects": ("project", "list"),
    "tokens": ("token", "list"),
    "token": ("token", "show", TOKEN),
    "project": ("project", "show", WIDE),
    "explain": ("token", "explain", TOKEN),
    "revoke": ("token", "revoke", "--project", LONG, "--dry-run"),
    "management tokens": ("management-token", "list"),
    "keys": ("keys", "status"),
    "sessions": ("sessions", "list"),
    "session": ("sessions", "show", CALLED),
    "topup": ("session", "topup", CALLED, "5usd"),
    "usage": USAGE,
    "usage by token": (*USAGE, "--by", "token"),
    "usage by project and token": (*USAGE, "--by", "project", "--by", "token"),
    "usage by day, model and user": (*USAGE, "--by", "day", "--by", "model", "--by", "user"),
    "usage by label": (*USAGE, "--by", "label:team"),
    "usage beside before": (*USAGE, "--compare", "--since", "1d"),
    "usage by session": (*USAGE, "--by", "session"),
    "budgets": ("report", "budgets"),
    "objects": ("objects", "list"),
    "batches": ("batches",),
    "audit": ("audit", "list"),
    "prices": ("prices", "check"),
    "cache": ("cache", "stats"),
    "status": ("status",),
    "spool": ("spool", "status"),
    "store": ("store", "check"),
    "configuration": ("config", "show"),
    "apply": ("apply", "--dry-run", "-f", "FILE"),
}


def lines_of(world: World, name: str, width: int) -> list[str]:
    given = {
        TOKEN: world.tokens[0]["id"],
        CALLED: f"{world.events[1]['token_id']}/{SESSION}",
        "FILE": str(world.declared),
    }
    return in_terminal(width, world.arguments(*(given.get(each, each) for each in TABLES[name])))


def under(header: str, column: str, line: str) -> str:
    """What ends where the name of a column ends; a header has no wide characters."""
    end = next(match.end() for match in re.finditer(r"\S+", header) if match[0] == column)
    assert in_cells(line, end, end + 1) in ("", " "), f"{column} is not aligned: {line}"
    return (in_cells(line, 0, end).rsplit("  ", 1) or [""])[-1].strip()


def in_cells(line: str, start: int, end: int) -> str:
    """What stands between two cells of a line."""
    at, found = 0, ""
    for character in line:
        if start <= at < end:
            found += character
        at += cell_len(character)
    return found


def headers_of(lines: Sequence[str]) -> list[int]:
    """Where tables begin: at the top, or behind an empty line or one of prose."""
    return [
        number
        for number, line in enumerate(lines)
        if re.fullmatch(r"[a-z_:]+(  +[a-z_:]+)+", line)
        and not line.endswith((" yes", " no"))
        and (number == 0 or not lines[number - 1] or ": " in lines[number - 1])
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_and_is_whole(world: World, name: str, width: int) -> None:
    lines = lines_of(world, name, width)
    text = "\n".join(lines)
    assert "Traceback" not in text
    assert headers_of(lines), text
    for place in headers_of(lines):
        header = lines[place]
        end = next((n for n in range(place, len(lines)) if not lines[n] or lines[n][0] == "("), len(lines))
        rows = [line for line in lines[place + 1 : end] if ": " not in line[:30]]
        for line in [header, *rows]:
            assert cell_len(line) <= width, line
            assert len(BEGUN.findall(line)) == len(WHOLE.findall(line)), f"an id is cut: {line}"
        for column in {"usd", "allowed", "used", "left", "assumed_usd", "was_usd"} & {*header.split()}:
            amounts = [under(header, column, line) for line in rows]
            assert all(NUMBER.fullmatch(amount) for amount in amounts), (column, amounts)
            assert max(map(len, amounts)) <= len("0.000000001"), "digits that do not matter"


@pytest.mark.parametrize("name", TABLES)
def test_what_is_missing_is_named(world: World, name: str) -> None:
    narrow, wide = lines_of(world, name, 80), lines_of(world, name, 1000)
    columns = [{*wide[place].split()} for place in headers_of(wide)]
    shown = [{*narrow[place].split()} for place in headers_of(narrow)]
    told = " ".join(narrow[next((n for n, line in enumerate(narrow) if "(left out" in line), len(narrow)) :])
    for all_of_them, some in zip(columns, shown, strict=True):
        for column in all_of_them - some:
            assert column in told
    assert not any("for want of room" in line for line in wide)


def test_a_pipe_gets_everything_and_no_colours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("tokens", "usage by token", "audit", "status"):
        shown = world.run(*TABLES[name])
        assert "…" not in shown.stdout
        assert "for want of room" not in shown.output
        assert "\x1b" not in shown.output
    header = world.run("token", "list").stdout.splitlines()[0].split()
    assert {"id", "project", "prefix", "name", "active", "expires_at", "last_used_at", "metadata"} <= {
        *header
    }


def test_no_color_is_heeded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("\x1b[" in line for line in in_terminal(100, world.arguments("status"), colours=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("\x1b" in line for line in in_terminal(100, world.arguments("status"), colours=True))


def test_json_is_the_same_in_a_terminal(world: World) -> None:
    shown = in_terminal(80, world.arguments("token", "list", "--json"))
    assert json.loads("".join(shown)) == world.json("token", "list")
    assert WIDE in world.json("project", "list")[-1]["name"]


def test_projects_and_tokens_have_names(world: World) -> None:
    """Wherever a table is about a project or a token, its name is there at every width."""
    for name in ("tokens", "sessions", "usage", "budgets", "batches", "usage by session"):
        for width in WIDTHS:
            assert any("search" in line for line in lines_of(world, name, width)), (name, width)
    for name in ("tokens", "usage by token", "budgets"):
        assert any("token-of-3" in line for line in lines_of(world, name, 80)), name
    assert any("token-of-3" in line for line in lines_of(world, "batches", 130))
