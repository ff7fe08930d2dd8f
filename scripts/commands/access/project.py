"""Run ``llmproxy project``: keep who pays, and with which key."""

from __future__ import annotations

from typing import Any

import click

from scripts.commands.access.field_options import field_options
from scripts.commands.access.limit_options import TOPUP, of_claimed, show_gauges, show_with_use
from scripts.inputs import read_key
from scripts.options import Places, open_store, places
from scripts.output import name_damaged, show, show_all
from store.ledger.claimed import OF_PROJECT
from store.tokens.amounts import Budget
from store.tokens.models import Project
from store.tokens.subjects import Side

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
@field_options(Project, new=True)
@JSON
@places
def create(*, name: str, api_key: str, fields: dict[str, Any], as_json: bool, places: Places) -> None:
    """Make a project. Makes the store too, if there is none."""
    with open_store(places, create=True) as store:
        made = store.create_project(name, read_key(api_key), **fields)
        show(made.as_dict(), as_json=as_json)


@project.command(name="list")
@JSON
@places
def list_(*, as_json: bool, places: Places) -> None:
    """List all projects."""
    with open_store(places) as store:
        rows = [project.as_dict() for project in store.list_projects(on_damaged=name_damaged)]
    show_all(
        rows,
        ("id", "name", "active", "key", "created_at"),
        as_json=as_json,
        nothing="There are no projects yet; make one with `llmproxy project create`.",
        droppable=("created_at", "key"),
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
        found = store.get_project(store.project_id(project))
        show_with_use(found.as_dict(), store.project_use(found), as_json=as_json)


@project.command()
@PROJECT
@TOPUP
@of_claimed(*OF_PROJECT)
@JSON
@places
def topup(
    *,
    project: str,
    amount: Budget,
    claimed: tuple[Side, str] | None,
    as_json: bool,
    places: Places,
) -> None:
    """Add to a budget of a project: 5usd, 5usd/day, 100000tokens/month. It counts from the next call on.

    It is for the present period; for the budget in all (total), which is meant where no period is given, it
    is for ever.
    """
    with open_store(places) as store:
        if claimed is not None:
            owner = store.get_project(store.project_id(project))
            show_gauges(store.top_up_claimed(owner, *claimed, amount), as_json=as_json)
            return
        changed = store.top_up_project(store.project_id(project), amount)
        show_with_use(changed.as_dict(), store.project_use(changed), as_json=as_json)


@project.command()
@PROJECT
@click.option("--name", help="A new name.")
@click.option("--api-key", help=API_KEY_HELP)
@field_options(Project, new=False)
@JSON
@places
def update(
    *,
    project: str,
    name: str | None,
    api_key: str | None,
    fields: dict[str, Any],
    as_json: bool,
    places: Places,
) -> None:
    """Change a project. Running proxies go by it from the next call on.

    Budgets are added to those that it has; lists (--model, --endpoint, --network) take the place of the
    present ones; 'none' removes a limit.
    """
    if name is not None:
        fields["name"] = name
    if api_key is not None:
        fields["api_key"] = read_key(api_key)
    if not fields:
        raise click.UsageError("nothing to change; see --help for what can be.")
    with open_store(places) as store:
        show(store.update_project(store.project_id(project), **fields).as_dict(), as_json=as_json)


@project.command()
@PROJECT
@JSON
@places
def activate(*, project: str, as_json: bool, places: Places) -> None:
    """Let the tokens of a project pass again."""
    with open_store(places) as store:
        show(store.activate_project(store.project_id(project)).as_dict(), as_json=as_json)


@project.command()
@PROJECT
@JSON
@places
def deactivate(*, project: str, as_json: bool, places: Places) -> None:
    """Refuse all tokens of a project, from the next call on."""
    with open_store(places) as store:
        show(store.deactivate_project(store.project_id(project)).as_dict(), as_json=as_json)
