"""The documents name what the code has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import click
from mitmproxy import options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons import refusal
from addons.event import build_event, minimal_event
from addons.options import declare
from dispatch import message
from scripts.cli import main
from tests.addons.test_event import exchange

CONTEXT = click.Context(main)
COMMANDS = {name: main.get_command(CONTEXT, name) for name in main.list_commands(CONTEXT)}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EVENT = (ROOT / "docs" / "event.md").read_text()


def first_cells(text: str, heading: str) -> set[str]:
    """The names in the first column of the first table below a heading."""
    table = text.split(f"\n{heading}\n", 1)[1].split("\n## ", maxsplit=1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_every_event_field_is_documented() -> None:
    event = build_event(exchange(), capture="all")
    documented = first_cells("\n" + EVENT, "# The event")
    assert documented == {*event, "writer", "seq"}


def test_an_outline_has_every_field_but_the_content() -> None:
    assert build_event(exchange(), capture="none").keys() == minimal_event(exchange()).keys()


def test_the_fields_that_are_dispatched_are_marked() -> None:
    rows = [line for line in EVENT.split("\n## ")[0].splitlines() if line.startswith("| `")]
    marked = {
        name
        for row in rows
        if row.split("|")[2].strip()
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    sent = message.message({"type": message.USAGE_TYPE} | dict.fromkeys(message.FIELDS))
    assert marked == sent.keys() - {"run_id", "event"}


async def test_every_option_is_documented() -> None:
    master = Master(options.Options())
    declare(Loader(master))
    declared = {name for name in master.options.keys() if name.startswith("llm_")}  # noqa: SIM118
    assert first_cells(README, "## Options") == declared


def test_every_refusal_is_documented() -> None:
    refusals = [value for value in vars(refusal).values() if isinstance(value, refusal.Refusal)]
    codes = {
        found.code for found in [*refusals, *refusal.BY_REASON.values(), refusal.destination_refused("")]
    }
    table = README.split("### What clients see")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", table)) == codes


def test_every_command_is_documented() -> None:
    section = README.split("## Commands")[1].split("\n## ")[0]
    for name, command in COMMANDS.items():
        shown = re.search(rf"^\$ llmproxy {name} (\S+)", section, re.MULTILINE)
        assert shown, name
        if isinstance(command, click.Group):
            assert set(shown[1].split("|")) == set(command.commands)


def test_environment_variables_of_the_dispatcher_are_in_its_help() -> None:
    for parameter in COMMANDS["dispatch"].params:
        if isinstance(parameter, click.Option) and parameter.envvar and "DISPATCHER" in str(parameter.envvar):
            assert parameter.show_envvar, parameter.name
