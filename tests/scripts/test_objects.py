"""`llmproxy objects` and `llmproxy batches`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.cli import main
from store.objects import table as objects
from store.objects.table import NewObject, Owner
from store.tokens.store import TokenStore


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    store = TokenStore.open(path)
    store.create_project("acme", "sk-a")
    store.create_project("other", "sk-b")
    store.close()
    return path


def run(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", str(place)])


def rows(place: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(place, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_adopting(place: Path) -> None:
    adopted = rows(place, "objects", "adopt", "file-1", "vs_1", "--project", "acme")
    assert {(row["id"], row["kind"]) for row in adopted} == {("file-1", "file"), ("vs_1", "vector_store")}
    assert rows(place, "objects", "adopt", "ft:gpt-4o:a::1", "--shared")[0]["project_id"] is None
    moved = rows(place, "objects", "adopt", "file-1", "--project", "other")
    assert moved[0]["project_id"] != adopted[0]["project_id"]
    assert [row["id"] for row in rows(place, "objects", "list", "--project", "other")] == ["file-1"]
    assert [row["id"] for row in rows(place, "objects", "list", "--kind", "vector_store")] == ["vs_1"]
    log = rows(place, "audit", "list", "--action", "object.adopt")
    assert len(log) == 4
    assert log[0]["after"] == {"ids": ["file-1"], "objects": 1, "taken_from_others": 1}


def test_wrong_usage(place: Path) -> None:
    assert run(place, "objects", "adopt", "file-1").exit_code == 2
    assert run(place, "objects", "adopt", "file-1", "--shared", "--project", "acme").exit_code == 2
    assert run(place, "objects", "adopt", "x y", "--shared").exit_code == 2
    unknown = run(place, "objects", "adopt", "file-1", "--project", "nobody")
    assert (unknown.exit_code, "no project 'nobody'" in unknown.stderr) == (1, True)


def test_what_is_not_counted_yet(place: Path) -> None:
    store = TokenStore.open(place)
    owner = Owner(store.get_project("acme").id)
    batch = NewObject("batch_1", "batch", owner, due=True, status="in_progress")
    answer = NewObject("resp_1", "response", owner, due=True)
    objects.remember(store.connection, [batch, answer, NewObject("batch_2", "batch", owner)])
    store.close()
    assert [(row["id"], row["status"]) for row in rows(place, "batches")] == [("batch_1", "in_progress")]
    assert {row["id"] for row in rows(place, "objects", "list", "--unaccounted")} == {"batch_1", "resp_1"}
    assert rows(place, "batches", "--project", "other") == []
    assert "batch_1" in run(place, "batches").stdout
    assert json.loads(run(place, "objects", "prune", "--older-than", "0s", "--json").stdout)["removed"] <= 1
    assert len(rows(place, "batches")) == 1
