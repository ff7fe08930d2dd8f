from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.scripts.test_cli import Cli, cli, with_project  # noqa: F401 - fixtures

CHECKS = ["integrity", "schema", "references", "keys", "revision", "audit", "wal"]


def test_check(with_project: Cli) -> None:  # noqa: F811
    rows = with_project.json("store", "check")
    assert [row["check"] for row in rows] == [
        "integrity",
        "schema",
        "references",
        "keys",
        "revision",
        "audit",
        "wal",
    ]
    assert all(row["ok"] for row in rows)
    with closing(sqlite3.connect(with_project.store)) as connection, connection:
        connection.execute("DROP TRIGGER revision_projects_update")
    done = with_project.run("store", "check", "--json")
    assert done.exit_code == 1
    assert [row["check"] for row in json.loads(done.stdout) if not row["ok"]] == ["revision"]


def test_backup_and_restore(with_project: Cli, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "backup.db"
    done = with_project.json("store", "backup", str(file))
    assert (done["file"], done["bytes"], done["rows"]["projects"]) == (str(file), file.stat().st_size, 1)
    again = with_project.run("store", "backup", str(file))
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    with_project.json("project", "create", "later", "--api-key", "env:KEY")
    refused = with_project.run("store", "restore", str(file))
    assert (refused.exit_code, "--force" in refused.stderr) == (1, True)
    assert with_project.json("store", "restore", str(file), "--force")["rows"]["projects"] == 1
    assert [project["name"] for project in with_project.json("project", "list")] == ["acme"]
    actions = [row["action"] for row in with_project.json("audit", "list")]
    assert {"store.backup", "store.restore"} <= set(actions)
    missing = with_project.run("store", "restore", str(tmp_path / "typo.db"), "--force")
    assert (missing.exit_code, "typo.db" in missing.stderr) == (1, True)


def test_copy_needs_a_master_key_that_both_find(with_project: Cli, tmp_path: Path) -> None:  # noqa: F811
    target = tmp_path / "elsewhere" / "store.db"
    refused = with_project.run("store", "copy", "--to", str(target))
    assert refused.exit_code == 1
    key_file = with_project.store.with_suffix(".key")
    assert f"LLMPROXY_MASTER_KEY_FILE={key_file}" in refused.stderr
    assert not target.exists()
    found = {"LLMPROXY_MASTER_KEY_FILE": str(key_file)}
    done = with_project.run("store", "copy", "--to", str(target), "--json", env=found)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["projects"] == 1
    same = with_project.run("store", "copy", "--to", str(with_project.store), env=found)
    assert same.exit_code == 2
    bad = with_project.run("store", "copy", "--to", "oracle://ada:s3cret@db/x", env=found)
    assert (bad.exit_code, "s3cret" in bad.output, "postgresql://" in bad.output) == (2, False, True)
