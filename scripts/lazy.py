"""Import the commands of a group when they are used: ``--help`` does not wait for boto3."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """Takes ``commands`` as a map from a command's name to ``module:attribute`` and its short help."""

    def __init__(self, *args: Any, commands: Mapping[str, tuple[str, str]], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._places = {name: place for name, (place, _) in commands.items()}
        self._help = {name: text for name, (_, text) in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._places:
            return None
        module, _, name = self._places[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands as click does, but without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._help.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands without importing them, and the group's own options."""
        names = [name for name in self._help if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self._help[name]) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]
