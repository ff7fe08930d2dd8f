"""Wherever a command asks for an id, a name or the beginning of the id does; what several fit is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scripts.test_cli import KEY
from tests.scripts.test_tables import SESSION, World, call

NAMED = "token-of-3-in-the-production-environment"
ASKING_FOR_PROJECTS: tuple[tuple[str, ...], ...] = (
    ("project", "show"),
    ("project", "topup", "5usd/month"),
    ("project", "update", "--metadata", "a=b"),
    ("project", "activate"),
    ("keys", "set-admin", KEY),
    ("keys", "remove-admin"),
    ("token", "create", "--project"),
    ("token", "list", "--project"),
    ("token", "revoke", "--dry-run", "--project"),
    ("sessions", "list", "--project"),
    ("report", "usage", "--project"),
    ("report", "budgets", "--project"),
    ("report", "focus", "--project"),
    ("objects", "list", "--project"),
    ("objects", "adopt", "file-2", "--project"),
    ("batches", "--project"),
    ("audit", "list", "--project"),
    ("cache", "purge", "--project"),
    ("budget", "settle", "--died", "--project"),
    ("spool", "tail", "--no-follow", "--project"),
)
ASKING_FOR_TOKENS: tuple[tuple[str, ...], ...] = (
    ("token", "show"),
    ("token", "topup", "5usd/day"),
    ("token", "update", "--metadata", "a=b"),
    ("token", "explain"),
    ("token", "rotate"),
    ("report", "usage", "--token"),
    ("objects", "adopt", "file-3", "--token"),
    ("audit", "list", "--token"),
    ("spool", "tail", "--no-follow", "--token"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("naming"))


def asked(command: tuple[str, ...], given: str) -> tuple[str, ...]:
    """The command with what is given in its place: behind the option at its end, else behind the verbs."""
    if command[-1].startswith("--") and command[-1] != "--died":
        return (*command, given)
    return (*command[:2], given, *command[2:])


def beginning(world: World, id_: str, ids: list[str]) -> str:
    """The shortest beginning of an id that no other has."""
    return next(id_[:n] for n in range(4, 37) if sum(one.startswith(id_[:n]) for one in ids) == 1)


@pytest.mark.parametrize("command", ASKING_FOR_PROJECTS, ids=" ".join)
def test_a_project(world: World, command: tuple[str, ...]) -> None:
    ids = [project["id"] for project in world.json("project", "list")]
    (id_,) = {token["project_id"] for token in world.tokens if token["project_name"] == "search"}
    for given in ("search", id_, beginning(world, id_, ids)):
        done = world.run(*asked(command, given))
        assert done.exit_code == 0, (given, done.output)
    several = world.run(*asked(command, id_[:4]))
    assert (several.exit_code, len(several.stderr.strip().splitlines()[-1:])) == (2, 1), several.output
    told = several.stderr.strip().splitlines()[-1]
    assert "the ids of several projects begin with" in told
    assert id_ in told
    assert "(search)" in told


@pytest.mark.parametrize("command", ASKING_FOR_TOKENS, ids=" ".join)
def test_a_token(world: World, command: tuple[str, ...]) -> None:
    ids = [token["id"] for token in world.json("token", "list")]
    token = next(token for token in world.tokens if token["name"] == NAMED)
    for given in (NAMED, token["id"], beginning(world, token["id"], ids)):
        done = world.run(*asked(command, given))
        assert done.exit_code == 0, (given, done.output)
    prefix = world.json("token", "show", NAMED)["prefix"]
    assert world.run(*asked(command, prefix)).exit_code == 0
    several = world.run(*asked(command, token["id"][:4]))
    assert several.exit_code == 2, several.output
    told = several.stderr.strip().splitlines()[-1]
    assert "the ids of several tokens begin with" in told
    assert len(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27} \(", told)) == 5
    assert told.endswith(", and more.")


def test_what_a_tail_shows_is_the_tokens_own(world: World) -> None:
    token = next(token for token in world.tokens if token["name"] == NAMED)
    mine = [event["event_id"] for event in world.events if event["token_id"] == token["id"]]
    shown = world.run("spool", "tail", "--no-follow", "--json", "--token", NAMED).stdout
    assert mine
    assert shown.count('"event_id"') == len(mine)
    assert all(one in shown for one in mine)


def test_a_session(world: World) -> None:
    token = world.events[1]["token_id"]
    ids = [one["id"] for one in world.json("token", "list")]
    for given in (f"{token}/{SESSION}", f"{beginning(world, token, ids)}/{SESSION}"):
        assert world.json("sessions", "show", given)["token"] == token
    named = f"{NAMED}/night run"
    assert world.json("sessions", "show", named)["session"] == "night run"
    several = world.run("sessions", "show", SESSION[:8])
    assert several.exit_code == 1
    assert f"{token}/{SESSION}" in several.stderr


def test_the_beginning_of_a_session_of_one_token(tmp_path: Path) -> None:
    class One(World):
        def _calls(self) -> None:
            self.events = [call(1, self.tokens[0])]
            super()._calls()

    world = One(tmp_path)
    assert world.json("sessions", "show", SESSION[:4])["session"] == SESSION
    assert world.run("sessions", "show", SESSION[:3]).exit_code == 1


def test_a_management_token(world: World) -> None:
    made = [world.json("management-token", "create", f"t{n}") for n in range(3)]
    ids = [one["id"] for one in world.json("management-token", "list")]
    for one, given in zip(made, ("t0", made[1]["prefix"], beginning(world, made[2]["id"], ids)), strict=True):
        revoked = world.json("management-token", "revoke", given)
        assert (revoked["id"], revoked["active"]) == (one["id"], False)
    several = world.run("management-token", "revoke", made[0]["id"][:4])
    assert several.exit_code == 2
    assert "(ads desk)" in several.stderr


def test_a_call_whose_cost_was_assumed(world: World) -> None:
    several = world.run("budget", "settle", "019aa1b2")
    assert several.exit_code == 2
    assert "019aa1b2-0000-7000-8000-000000000001" in several.stderr
    ids = [event["event_id"] for event in world.events[:3]]
    (settled,) = world.json("budget", "settle", beginning(world, ids[2], ids))
    assert settled["call"] == ids[2]
