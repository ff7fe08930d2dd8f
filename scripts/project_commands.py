"""``llmproxy project``: who pays, and with which key."""

from __future__ import annotations

import sys
from typing import Any

import click

from scripts.limit_options import TOPUP, LimitChanges, project_limits, show_with_use
from scripts.metadata_options import Metadata, metadata_changed, metadata_given
from scripts.options import Places, open_store, places
from scripts.output import show, show_all
from store.limits import Budget

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
PROJECT = click.argument("project", metavar="ID_OR_NAME")
API_KEY_HELP = (
    "The real key; '-' reads it from standard input, which keeps it out of the shell's history. "
    "Or where it is kept: env:NAME, file:/PATH, aws-sm:NAME_OR_ARN, aws-ssm:NAME."
)


@click.group()
def project() -> None:
    """Projects: each holds a real API key that its tokens stand for."""


@project.command()
@click.argument("name")
@click.option("--api-key", required=True, help=API_KEY_HELP)
@metadata_given
@project_limits
@JSON
@places
def create(
    *, name: str, api_key: str, metadata: Metadata, limits: LimitChanges, as_json: bool, places: Places
) -> None:
    """Make a project. Makes the store too, if there is none."""
    with open_store(places, create=True) as store:
        made = store.create_project(name, _key(api_key), **metadata.given(), limits=limits.made)
        show(made.as_dict(), as_json=as_json)


@project.command(name="list")
@JSON
@places
def list_(*, as_json: bool, places: Places) -> None:
    """List all projects."""
    with open_store(places) as store:
        rows = [project.as_dict() for project in store.list_projects()]
    show_all(
        rows,
        ("id", "name", "active", "key", "created_at"),
        as_json=as_json,
        nothing="There are no projects yet; make one with `llmproxy project create`.",
    )


@project.command(name="show")
@PROJECT
@JSON
@places
def show_(*, project: str, as_json: bool, places: Places) -> None:
    """Show a project, and what is used of its limits.

    Its key is never shown, only how it is kept: encrypted, plain, env:NAME ...
    """
    with open_store(places) as store:
        found = store.get_project(project)
        show_with_use(found.as_dict(), store.project_use(found), as_json=as_json)


@project.command()
@PROJECT
@TOPUP
@JSON
@places
def topup(*, project: str, amount: Budget, as_json: bool, places: Places) -> None:
    """Add to a budget of a project: 5usd, 5usd/day, 100000tokens/month. It counts from the next call on.

    It is for the present period; for the budget in all (total), which is meant where no period is given, it
    is for ever.
    """
    with open_store(places) as store:
        changed = store.top_up_project(project, amount)
        show_with_use(changed.as_dict(), store.project_use(changed), as_json=as_json)


@project.command()
@PROJECT
@click.option("--name", help="A new name.")
@click.option("--api-key", help=API_KEY_HELP)
@metadata_changed
@project_limits
@JSON
@places
def update(
    *,
    project: str,
    name: str | None,
    api_key: str | None,
    metadata: Metadata,
    limits: LimitChanges,
    as_json: bool,
    places: Places,
) -> None:
    """Change a project. Running proxies go by it from the next call on.

    Budgets are added to those that it has; lists (--model, --endpoint, --network) take the place of the
    present ones; 'none' removes a limit.
    """
    changes: dict[str, Any] = metadata.changes()
    if name is not None:
        changes["name"] = name
    if api_key is not None:
        changes["api_key"] = _key(api_key)
    if limits:
        changes["limits"] = limits
    if not changes:
        raise click.UsageError("nothing to change; see --help for what can be.")
    with open_store(places) as store:
        show(store.update_project(project, **changes).as_dict(), as_json=as_json)


@project.command()
@PROJECT
@JSON
@places
def activate(*, project: str, as_json: bool, places: Places) -> None:
    """Let the tokens of a project pass again."""
    with open_store(places) as store:
        show(store.activate_project(project).as_dict(), as_json=as_json)


@project.command()
@PROJECT
@JSON
@places
def deactivate(*, project: str, as_json: bool, places: Places) -> None:
    """Refuse all tokens of a project, from the next call on."""
    with open_store(places) as store:
        show(store.deactivate_project(project).as_dict(), as_json=as_json)


def _key(value: str) -> str:
    return sys.stdin.readline().strip() if value == "-" else value
