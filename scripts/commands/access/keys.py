"""Run ``llmproxy keys``: show how the projects' keys are kept, and the master key that encrypts them."""

from __future__ import annotations

from typing import Any

import click

from scripts.inputs import read_key
from scripts.options import Places, open_store, places
from scripts.output import show, show_all
from store.core.errors import KeyUnavailable
from store.tokens.models import Project
from store.tokens.store import TokenStore

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Project keys at rest: encrypted with a master key, or kept elsewhere.

    The master key is in LLMPROXY_MASTER_KEY, in the file that LLMPROXY_MASTER_KEY_FILE names, or else in the
    file beside the store (store.db: store.key), which the first project's key makes. Without it the keys
    can't be read: keep a copy, apart from the copies of the store.
    """


@keys.command()
@JSON
@places
def init(*, as_json: bool, places: Places) -> None:
    """Make a master key, where LLMPROXY_MASTER_KEY_FILE says or beside the store."""
    with open_store(places, create=True) as store:
        made = store.keys.make_master()
    show({"master_key": made.primary.id, "where": made.where}, as_json=as_json)


@keys.command()
@click.pass_context
@JSON
@places
def status(ctx: click.Context, *, as_json: bool, places: Places) -> None:
    """Read every project's key, and say how it is kept. Ends with 1 where one can't be read, or is plain.

    References are read from here: what is in the proxy's environment only can't be seen.
    """
    with open_store(places) as store:
        rows = [_state(store, project) for project in store.list_projects()]
    show_all(
        rows,
        ("project", "key", "ok", "detail"),
        as_json=as_json,
        nothing="There are no projects yet; make one with `llmproxy project create`.",
    )
    if not all(row["ok"] for row in rows):
        ctx.exit(1)


@keys.command()
@JSON
@places
def encrypt(*, as_json: bool, places: Places) -> None:
    """Encrypt the keys that an earlier version stored in plain text. Proxies go on meanwhile."""
    with open_store(places) as store:
        show({"encrypted": store.keys.encrypt()}, as_json=as_json)


@keys.command()
@click.option(
    "--keep-old", is_flag=True, help="Leave the old key in the file too, for older backups of the store."
)
@JSON
@places
def rotate(*, keep_old: bool, as_json: bool, places: Places) -> None:
    """Encrypt all keys with a new master key, in one transaction. Proxies go on meanwhile.

    In a file, the new key is made and takes the old one's place. In LLMPROXY_MASTER_KEY, put the new key
    before the old one (NEW,OLD), restart the proxies with that, rotate, and take the old one out.
    """
    with open_store(places) as store:
        done = store.keys.rotate(keep_old=keep_old)
    show({"encrypted": done.encrypted, "master_key": done.master, "where": done.where}, as_json=as_json)


@keys.command(name="set-admin")
@click.argument("project", metavar="PROJECT")
@click.argument("key", metavar="KEY|-")
@JSON
@places
def set_admin(*, project: str, key: str, as_json: bool, places: Places) -> None:
    """Keep an admin key with a project, for `reconcile`; - reads it from standard input.

    It is encrypted like the project's key, or a reference (env:NAME, file:PATH ...). It only reads the
    vendor's usage and costs, and no call of a client ever uses it.
    """
    with open_store(places) as store:
        found = store.get_project(store.project_id(project))
        store.keys.set_admin(found.id, read_key(key))
    show({"project": found.name, "admin_key": "set"}, as_json=as_json)


@keys.command(name="remove-admin")
@click.argument("project", metavar="PROJECT")
@JSON
@places
def remove_admin(*, project: str, as_json: bool, places: Places) -> None:
    """Forget the admin key of a project."""
    with open_store(places) as store:
        found = store.get_project(store.project_id(project))
        store.keys.set_admin(found.id, None)
    show({"project": found.name, "admin_key": "none"}, as_json=as_json)


def _state(store: TokenStore, project: Project) -> dict[str, Any]:
    row = {"project": project.name, "key": project.key.kind, "ok": True, "detail": None}
    try:
        store.keys.read(project.id, project.key)
    except KeyUnavailable as error:
        return row | {"ok": False, "detail": str(error)}
    if project.key.kind == "plain":
        return row | {"ok": False, "detail": "`llmproxy keys encrypt` encrypts it"}
    return row
