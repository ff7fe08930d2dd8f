"""A group of commands that are imported when they are used: ``token list`` does not wait for boto3."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """Takes ``commands`` as a map from a command's name to ``module:attribute``."""

    def __init__(self, *args: Any, commands: Mapping[str, str], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._places = commands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._places:
            return None
        module, _, name = self._places[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command
