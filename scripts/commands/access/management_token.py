"""Run ``llmproxy management-token``: keep named tokens of the management API."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from scripts.options import Expiry, Places, open_store, places
from scripts.output import show, show_all
from store.tokens.management_tokens import ADMIN, ROLES, USUAL_LIFETIME, ManagementTokens

COLUMNS = ("id", "name", "role", "projects", "prefix", "active", "created_at", "expires_at", "last_used_at")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="management-token")
def management_token() -> None:
    """Named tokens of the management API, with a role each, revoked at any time.

    They hold on every proxy on the store from the next request on, beside LLMPROXY_MANAGEMENT_TOKEN.
    """


@management_token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default=ADMIN,
    show_default=True,
    help="admin may do everything, read may only look, project sees its projects and makes their tokens.",
)
@click.option(
    "--project", "projects", metavar="ID_OR_NAME", multiple=True, help="Of the role project; may be repeated."
)
@click.option("--expires", type=Expiry(), help="When it ends: 30d, 12h, a date, or never.  [default: 90d]")
@JSON
@places
def create(
    *,
    name: str,
    role: str,
    projects: tuple[str, ...],
    expires: datetime | str | None,
    as_json: bool,
    places: Places,
) -> None:
    """Make a management token. Its text is shown now and never again: only its hash is kept."""
    ends = datetime.now(UTC) + USUAL_LIFETIME if expires is None else expires
    with open_store(places) as store:
        made, text = ManagementTokens(store.connection, store.audit).create(
            name,
            role,
            projects=[store.get_project(store.project_id(project)).id for project in projects],
            expires_at=None if isinstance(ends, str) else ends,
        )
    show({"token": text.reveal(), **made.as_dict()}, as_json=as_json)


@management_token.command(name="list")
@JSON
@places
def list_(*, as_json: bool, places: Places) -> None:
    """List management tokens, those that have ended too."""
    with open_store(places) as store:
        rows = [token.as_dict() for token in ManagementTokens(store.connection, store.audit).list()]
        if not as_json:
            called = {project.id: project.name for project in store.list_projects()}
            rows = [{**row, "projects": [called.get(id_, id_) for id_ in row["projects"]]} for row in rows]
    show_all(
        rows,
        COLUMNS,
        as_json=as_json,
        nothing="There are no management tokens.",
        droppable=("id", "projects", "last_used_at", "created_at", "prefix"),
    )


@management_token.command()
@click.argument("name", metavar="ID_OR_NAME")
@JSON
@places
def revoke(*, name: str, as_json: bool, places: Places) -> None:
    """Refuse a management token from the next request on. There is no way back; make a new one instead.

    It is given by its name or id, the beginning of the id, or the prefix that `list` shows.
    """
    with open_store(places) as store:
        revoked = ManagementTokens(store.connection, store.audit).revoke(name)
    show(revoked.as_dict(), as_json=as_json)
