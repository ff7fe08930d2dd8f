"""Run ``llmproxy objects`` and ``batches``: whose the API's objects are, and what is to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from addons.openai.objects.kinds import ROOTS
from scripts.options import Duration, Places, open_store, places
from scripts.output import show, show_all
from store.objects import admin as register
from store.objects.table import Object, Wanted
from store.tokens import naming
from store.tokens.store import TokenStore

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
PROJECT = click.option("--project", metavar="ID_OR_NAME", help="Only those of this project.")
MOST = click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many."
)
COLUMNS = ("id", "kind", "project", "token", "created_at", "status", "accounted")
DROPPABLE = ("accounted", "status", "created_at", "token", "project")
"""Columns of both lists that a narrow terminal has no room for, the least important first."""
KINDS = sorted({*ROOTS.values(), "item", "thread.run"})
PREFIXES = {
    **{"resp_": "response", "conv_": "conversation", "chatcmpl-": "chat.completion", "file-": "file"},
    **{"upload_": "upload", "batch_": "batch", "ft:": "model", "ftjob-": "fine_tuning.job"},
    **{"asst_": "assistant", "thread_": "thread", "run_": "thread.run", "vs_": "vector_store"},
    **{
        "cntr_": "container",
        "skill_": "skill",
        "video_": "video",
        "eval_": "eval",
        "cthr_": "chatkit.thread",
    },
}


@click.group()
def objects() -> None:
    """Objects that the API keeps under ids: files, responses, threads, batches ... and whose they are.

    \b
    llmproxy objects adopt file-abc vs_123 --project acme
    llmproxy objects adopt ft:gpt-4o:acme::9x --shared
    llmproxy objects list --project acme --kind file

    What was made before the proxy, or not through it, is nobody's, and refused (llm_ownership) until it is
    adopted. See docs/ownership.md.
    """


@objects.command(name="list")
@PROJECT
@click.option("--kind", type=click.Choice(KINDS), help="Only those of this kind.")
@click.option("--unaccounted", is_flag=True, help="Only those whose usage is still to be counted.")
@MOST
@JSON
@places
def list_(
    *, project: str | None, kind: str | None, unaccounted: bool, limit: int, as_json: bool, places: Places
) -> None:
    """List objects, newest first."""
    with open_store(places) as store:
        owner = store.get_project(store.project_id(project)).id if project else None
        found = register.listed(store, Wanted(kind, owner, unaccounted=unaccounted, most=limit))
        rows = _rows(store, found, as_json=as_json)
    show_all(rows, COLUMNS, as_json=as_json, nothing="There is no such object.", droppable=DROPPABLE)


def _rows(store: TokenStore, found: Sequence[Object], *, as_json: bool) -> list[dict[str, Any]]:
    """Give the fields of objects; in a table projects and tokens are called by their names."""
    rows = [one.as_dict() for one in found]
    if as_json:
        return rows
    called = naming.names(store.connection, rows)
    return [
        {**row, "project": called.get(row["project_id"]), "token": called.get(row["token_id"])}
        for row in rows
    ]


@objects.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--project", metavar="ID_OR_NAME", help="Whose they shall be.")
@click.option("--token", metavar="ID_OR_NAME", help="The token whose they shall be.")
@click.option("--shared", is_flag=True, help="They shall be everybody's.")
@click.option("--kind", type=click.Choice(KINDS), help="What they are, where their ids do not tell.")
@JSON
@places
def adopt(
    *,
    ids: tuple[str, ...],
    project: str | None,
    token: str | None,
    shared: bool,
    kind: str | None,
    as_json: bool,
    places: Places,
) -> None:
    """Give objects to a project, a token, or everybody, whether they are known or not.

    A proxy that has used an object for its former owner may go on to do so until its next start.
    """
    if sum((project is not None, token is not None, shared)) != 1:
        raise click.UsageError("say whose they shall be: --project, --token or --shared.")
    found: list[Object] = []
    with open_store(places) as store:
        project = store.project_id(project) if project else None
        token = store.token_id(token) if token else None
        by_kind: dict[str, list[str]] = {}
        for id_ in ids:
            by_kind.setdefault(kind or kind_of(id_), []).append(id_)
        for each, members in by_kind.items():
            found += register.adopt(store, members, each, project=project, token=token)
        rows = _rows(store, found, as_json=as_json)
    show_all(rows, COLUMNS, as_json=as_json, nothing="", droppable=DROPPABLE)


def kind_of(id_: str) -> str:
    """Give what an id says of itself."""
    return next((kind for prefix, kind in PREFIXES.items() if id_.startswith(prefix)), "file")


@objects.command()
@click.option("--older-than", type=Duration(), required=True, help="How long ago they were made: 365d.")
@JSON
@places
def prune(*, older_than: timedelta, as_json: bool, places: Places) -> None:
    """Forget old objects; requests for them are refused from then on. What is still to be counted stays.

    Proxies forget answers by themselves 31 days after they were made: the API keeps them for 30.
    """
    with open_store(places) as store:
        removed = register.prune(store, datetime.now(UTC) - older_than)
    show({"removed": removed}, as_json=as_json)


@click.command()
@PROJECT
@MOST
@JSON
@places
def batches(*, project: str | None, limit: int, as_json: bool, places: Places) -> None:
    """List the batches whose usage is not counted yet, newest first.

    A batch is counted when its output file is fetched through the proxy. The status is the one that an answer
    showed last. See docs/background.md.
    """
    with open_store(places) as store:
        owner = store.get_project(store.project_id(project)).id if project else None
        found = register.listed(store, Wanted("batch", owner, unaccounted=True, most=limit))
        rows = _rows(store, found, as_json=as_json)
    for one, row in zip(found, rows, strict=True):
        seconds = int(datetime.now(UTC).timestamp()) - one.created_at
        row["age_seconds" if as_json else "age"] = seconds if as_json else str(timedelta(seconds=seconds))
    columns = ("id", "project", "token", "created_at", "age", "status")
    show_all(rows, columns, as_json=as_json, nothing="All batches are counted.", droppable=DROPPABLE)
