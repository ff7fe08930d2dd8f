"""Run ``llmproxy store``: check a store, back it up, restore it, copy it to another engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scripts.options import Location, Places, places
from scripts.output import show, show_all
from store.audit.origin import of_process
from store.core.errors import KeyUnavailable
from store.database.location import StoreLocation
from store.keys import master_key
from store.tokens.store import TokenStore
from store.upkeep import backup as backups
from store.upkeep.check import Finding
from store.upkeep.check import check as look_at
from store.upkeep.transfer import Tell

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def store() -> None:
    """The store as a whole: check, backup, restore, copy. Proxies may go on meanwhile."""


@store.command()
@JSON
@click.pass_context
@places
def check(ctx: click.Context, /, *, as_json: bool, places: Places) -> None:
    """Look for what may be wrong. Ends with 1 where something is.

    Damage of the file or the tables, the schema, tokens without a project, keys that do not open, changes
    that running proxies would not see, gaps in the audit log.
    """
    findings = look_at(places.store)
    _show_findings(findings, as_json=as_json)
    if not all(finding.ok for finding in findings):
        ctx.exit(1)


@store.command()
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace the file.")
@JSON
@places
def backup(*, file: Path, force: bool, as_json: bool, places: Places) -> None:
    """Write the store into FILE, a SQLite store, with everything that was committed when it began.

    Proxies go on. Keys in it are as encrypted as in the store: keep the master key elsewhere.
    """
    with _progress() as tell:
        counts = backups.backup(places.store, file, of_process(places.actor), force=force, tell=tell)
    _show(counts, as_json=as_json, file=str(file), bytes=file.stat().st_size)


@store.command()
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace what is in the store.")
@JSON
@click.pass_context
@places
def restore(ctx: click.Context, /, *, file: Path, force: bool, as_json: bool, places: Places) -> None:
    """Bring the store back from a backup FILE, to a file or a server, and check it.

    Proxies on it may go on, and see it from the next call on. A store that holds anything is replaced only
    with --force.
    """
    with _progress() as tell:
        counts = backups.restore(file, places.store, of_process(places.actor), force=force, tell=tell)
    _prove(ctx, places.store)
    _show(counts, as_json=as_json, store=str(places.store))


@store.command()
@click.option(
    "--to",
    "target",
    type=Location(),
    required=True,
    envvar="LLMPROXY_STORE_TO",
    show_envvar=True,
    help="Where to: a path, or the URL of a database.",
)
@click.option("--force", is_flag=True, help="Replace what is in the target.")
@JSON
@click.pass_context
@places
def copy(ctx: click.Context, /, *, target: StoreLocation, force: bool, as_json: bool, places: Places) -> None:
    """Copy the store to another place or engine, and check it there.

    What is changed, or called, after the copy began is not in it: stop the proxies before, and start them on
    the new store. Both need the same master key.
    """
    if str(target) == str(places.store):
        raise click.UsageError("--to is the store itself.")
    _check_master_key(places.store, target)
    with _progress() as tell:
        counts = backups.copy(places.store, target, of_process(places.actor), force=force, tell=tell)
    _prove(ctx, target)
    _show(counts, as_json=as_json, store=str(target))


def _check_master_key(source: StoreLocation, target: StoreLocation) -> None:
    """Check that the keys that can be read here open there.

    Raises KeyUnavailable before anything is copied.
    """
    store = TokenStore.open(source, create=False)
    try:
        store.keys.check()
        encrypted = any(project.key.kind == "encrypted" for project in store.list_projects())
    finally:
        store.close()
    if not encrypted or os.environ.get(master_key.VARIABLE) or os.environ.get(master_key.FILE_VARIABLE):
        return
    raise KeyUnavailable(
        f"the master key is in the file beside {source}, where {target} does not look for it: "
        f"set {master_key.FILE_VARIABLE}={master_key.beside(source)}, here and for the proxies."
    )


def _prove(ctx: click.Context, location: StoreLocation) -> None:
    wrong = [finding for finding in look_at(location) if not finding.ok]
    for finding in wrong:
        click.echo(f"Error: {location}: {finding.check}: {finding.detail}", err=True)
    if wrong:
        ctx.exit(1)


def _show_findings(findings: list[Finding], *, as_json: bool) -> None:
    rows = [finding.as_dict() for finding in findings]
    show_all(rows, ("check", "ok", "detail"), as_json=as_json, nothing="")


def _show(counts: dict[str, int], *, as_json: bool, **about: Any) -> None:
    if as_json:
        show({**about, "rows": counts}, as_json=True)
    else:
        show({**about, **{f"{name} rows": number for name, number in counts.items()}}, as_json=False)


@contextmanager
def _progress() -> Iterator[Tell]:
    """Show the rows of each table as they are copied, on a terminal; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = progress.add_task(table, total=total)
            progress.update(tasks[table], completed=done)

        yield tell
