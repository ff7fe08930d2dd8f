"""Run ``llmproxy config``: show which settings hold, and where each is from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from scripts.options import DEFAULT_SPOOL, told
from scripts.output import show_all
from store.core import configuration
from store.core.configuration import Configuration
from store.database import location
from store.database.location import without_password
from store.tokens import lifetimes

SECRET = ("key", "token", "password", "secret")
COLUMNS = ("setting", "value", "source")


@click.group()
def config() -> None:
    """Settings of the proxy, the commands and the dispatcher, and the file that may hold them all."""


@config.command()
@click.option("--set", "only_set", is_flag=True, help="Leave out what nobody has set.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, only_set: bool, as_json: bool) -> None:
    """Show each setting with its value and its source: the environment, the file, or the default.

    Flags of a single command, and `--set` of mitmproxy, go before all of them and are not seen here. Secrets
    are not shown.
    """
    with told():
        file = configuration.load()
        rows = [row for row in _rows(file) if not only_set or row["source"] != "default"]
    click.echo(f"Configuration: {file.path or 'no file'}", err=True)
    show_all(rows, COLUMNS, as_json=as_json, nothing="Nothing is set.")


def _rows(file: Configuration) -> Iterator[dict[str, Any]]:
    defaults = {"store": location.DEFAULT, "spool": str(DEFAULT_SPOOL), "project": None}
    for name, default in defaults.items():
        value = file.place(name) if name != "project" else file.texts.get(name)
        yield _row(name, f"LLMPROXY_{name.upper()}", value, default, file)
    for name, variable in lifetimes.VARIABLES.items():
        yield _row(name, variable, file.texts.get(name), None, file)
    yield from _proxy(file)
    yield from _dispatch(file)


def _proxy(file: Configuration) -> Iterator[dict[str, Any]]:
    """Yield the options of mitmproxy that are ours, but for those that stand at the file's top."""
    from addons.settings.defaults import SHARED, VARIABLES, ConfiguredDefaults  # noqa: PLC0415 - 0.5 s
    from addons.settings.options import declare_all  # noqa: PLC0415

    builtin: dict[str, Any] = {}

    def add(name: str, _kind: Any, default: Any, *_rest: Any, **_more: Any) -> None:
        builtin[name] = default

    with _without([*VARIABLES.values(), configuration.VARIABLE]):
        declare_all(add)
    checked = ConfiguredDefaults(lambda *_args, **_rest: None, file)
    declare_all(checked)
    checked.finish()
    for name, default in builtin.items():
        if name not in SHARED:
            yield _row(name, VARIABLES.get(name), file.proxy.get(name), default, file)


def _dispatch(file: Configuration) -> Iterator[dict[str, Any]]:
    """Yield what the dispatcher was told; its many defaults are in the help of the command."""
    from scripts.commands.dispatch import dispatch  # noqa: PLC0415 - imports the sinks
    from scripts.commands.dispatch_options import DispatchCommand, file_settings  # noqa: PLC0415

    assert isinstance(dispatch, DispatchCommand)
    context = click.Context(dispatch, info_name="dispatch")
    given = dict(file_settings(dispatch, context, file.path, file.dispatch)) if file.path else {}
    for param in dispatch.get_params(context):
        names = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
        named = next((name for name in names if os.environ.get(name)), None)
        if param.name and (named or param.name in given):
            yield _row(f"dispatch {param.name}", named, given.get(param.name), None, file)


def _row(name: str, variable: str | None, in_file: Any, default: Any, file: Configuration) -> dict[str, Any]:
    if variable and os.environ.get(variable):
        return {"setting": name, "value": _shown(name, os.environ[variable]), "source": variable}
    if in_file is not None:
        return {"setting": name, "value": _shown(name, in_file), "source": str(file.path)}
    return {"setting": name, "value": _shown(name, default), "source": "default"}


def _shown(name: str, value: Any) -> Any:
    if value and name.endswith(SECRET) and not str(value).startswith(("env:", "file:")):
        return "(set)"
    return without_password(value) if isinstance(value, str) and "://" in value else value


@contextmanager
def _without(names: Iterable[str]) -> Iterator[None]:
    """Hide variables of the environment for a while, so that defaults are those of the program."""
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
