"""``--metadata``, ``--metadata-json`` and ``--header-metadata`` of projects and tokens."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.tokens.store import TokenStore
from tests.scripts.test_cli import KEY, Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path / "store.db")
    cli.json("project", "create", "acme", "--api-key", KEY)
    return cli


KINDS = {
    "project": ("project", "create", "other", "--api-key", KEY),
    "token": ("token", "create", "--project", "acme"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_make_and_change(cli: Cli, kind: str) -> None:
    made = cli.json(
        *KINDS[kind],
        *("--metadata-json", '{"team": "a", "env": "test"}', "--metadata", "team=b"),
        *("--header-metadata", "Session-Id", "--header-metadata", "user_id"),
    )
    assert made["metadata"] == {"team": "b", "env": "test"}
    assert made["header_metadata"] == ["session_id", "user_id"]
    made.pop("token", None)
    assert cli.json(kind, "show", made["id"]) == {**made, "use": []}
    assert made in cli.json(kind, "list")

    def update(*arguments: str) -> tuple[dict[str, str], list[str]]:
        changed = cli.json(kind, "update", made["id"], *arguments)
        return changed["metadata"], changed["header_metadata"]

    names = ["session_id", "user_id"]
    assert update("--metadata", "x=1=2") == ({"team": "b", "env": "test", "x": "1=2"}, names)
    assert update("--remove-metadata", "env", "--remove-metadata", "none") == (
        {"team": "b", "x": "1=2"},
        names,
    )
    assert update("--metadata-json", '{"a": "1"}', "--metadata", "b=2") == ({"a": "1", "b": "2"}, names)
    assert update("--metadata-json", "{}") == ({}, names)
    assert update("--header-metadata", "team", "--remove-header-metadata", "User-Id") == (
        {},
        ["session_id", "team"],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metadata", "team"), "write KEY=VALUE"),
        (("--metadata", "team=a\nb"), "metadata 'team'"),
        (("--metadata-json", '{"n": 1}'), "not int"),
        (("--metadata-json", '{"n": null}'), "not NoneType"),
        (("--metadata-json", '{"n": {"a": "b"}}'), "not dict"),
        (("--metadata-json", '["a"]'), "write an object"),
        (("--metadata-json", "{"), "not JSON"),
        (("--metadata-json", '{"a": "1", "a": "2"}'), "twice"),
        (("--header-metadata", "a b"), "header metadata 'a b'"),
        (("--header-metadata", ""), "header metadata ''"),
        (tuple(f"--header-metadata=n{number}" for number in range(17)), "at most 16"),
        (tuple(f"--metadata=n{number}=v" for number in range(17)), "at most 16"),
    ],
)
def test_what_is_refused(cli: Cli, kind: str, arguments: tuple[str, ...], said: str) -> None:
    before = cli.json(kind, "list")
    result = cli.run(*KINDS[kind], *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert cli.json(kind, "list") == before


def test_names_that_are_not_there_are_removed_in_silence(cli: Cli) -> None:
    cli.json("project", "create", "beta", "--api-key", KEY, "--header-metadata", "Feature-Name")
    for name, left in (("a b", ["feature_name"]), ("other", ["feature_name"]), ("FEATURE-NAME", [])):
        changed = cli.json("project", "update", "beta", "--remove-header-metadata", name)
        assert changed["header_metadata"] == left


def test_nothing_to_change(cli: Cli) -> None:
    assert cli.run("project", "update", "acme").exit_code == 2


def test_import(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "project,metadata,metadata.user_id,header_metadata\n"
        'acme,"{""team"": ""a"", ""user_id"": ""x""}",ada,session_id Feature\n'
        "acme,,bob,\n"
    )
    ada, bob = cli.json("token", "import", str(file))
    assert (ada["metadata"], ada["header_metadata"]) == (
        {"team": "a", "user_id": "ada"},
        ["feature", "session_id"],
    )
    assert (bob["metadata"], bob["header_metadata"]) == ({"user_id": "bob"}, [])
    for line, said in (
        ('"{""n"": 1}",', "not int"),
        ("[],", "write an object"),
        (',"a,b"', "header metadata"),
    ):
        file.write_text(f"project,metadata,header_metadata\nacme,{line}\n")
        result = cli.run("token", "import", str(file))
        assert result.exit_code == 2
        assert said in result.stderr
        assert "line 2" in result.stderr


def test_changes_of_parts_at_the_same_time_are_all_kept(cli: Cli) -> None:
    made = cli.json("token", "create", "--project", "acme")

    def add(number: int) -> None:
        store = TokenStore.open(cli.store)
        store.update_token(made["id"], metadata=lambda present: {**present, f"n{number}": "v"})
        store.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    found = cli.json("token", "show", made["id"])["metadata"]
    assert sorted(found) == sorted(f"n{number}" for number in range(16)), json.dumps(found)
