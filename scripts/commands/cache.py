"""Run ``llmproxy cache``: show what the proxies keep of answers, and remove it."""

from __future__ import annotations

import time
from typing import Any

import click

from addons.caching.key import target_of
from scripts import output
from scripts.options import Places, open_store, places
from store.cache import purges
from store.cache.purge import Purge
from store.core.urls import split_url
from store.spool.status_files import read_all

COLUMNS = (
    "proxy",
    "hits",
    "misses",
    "bypassed",
    "stored",
    "revalidated",
    "entries",
    "bytes",
    "evicted",
    "slow",
)


@click.group()
def cache() -> None:
    """Answers that proxies keep to give them again: see what there is, and remove it."""


@cache.command()
@click.option("--project", metavar="ID_OR_NAME", help="Only answers to this project.")
@click.option("--url", metavar="URL_OR_PATH", help="Only answers to requests for this: /v1/models.")
@click.option("--method", metavar="METHOD", help="Only answers to requests with this method.")
@click.option("--prefix", is_flag=True, help="All that begins as --url, or --key, does.")
@click.option("--key", metavar="KEY", help="Only the answer with this key (X-Proxy-Cache-Key).")
@click.option("--all", "everything", is_flag=True, help="All answers to all projects.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@places
def purge(  # noqa: PLR0913 - one for each option
    *,
    project: str | None,
    url: str | None,
    method: str | None,
    prefix: bool,
    key: str | None,
    everything: bool,
    as_json: bool,
    places: Places,
) -> None:
    """Remove the answers that fit all that is given, from every proxy on the store.

    They are gone within a second; proxies that do not run now remove them when they start. Answers to
    requests that are under way are not kept.
    """
    if not (project or url or method or key or everything):
        raise click.UsageError("say what is to go: --project, --url, --method, --key, or --all.")
    if prefix and not (url or key):
        raise click.UsageError("--prefix takes --url or --key.")
    with open_store(places) as store:
        order = Purge(
            time.time(),
            project_id=store.get_project(store.project_id(project)).id if project else None,
            key=key,
            method=method and method.upper(),
            target=_target(url, prefix=prefix) if url else None,
            prefix=prefix,
        )
        purges.order(store.connection, store.audit, order)
    if as_json:
        output.show({"ordered": True}, as_json=True)
    else:
        click.echo("Ordered; the proxies carry it out within a second.")


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def stats(*, as_json: bool, places: Places) -> None:
    """Show what each proxy on the spool has answered from its cache, and what that holds.

    `slow` are calls that went upstream because the place behind the memory did not answer in time. What was
    saved is in `llmproxy report usage`.
    """
    rows = [
        _row(status.value, found)
        for status in read_all(places.spool)
        if status.alive and isinstance(found := status.value.get("cache"), dict)
    ]
    output.show_all(
        rows,
        COLUMNS,
        as_json=as_json,
        nothing="No proxy on this spool keeps answers.",
        droppable=("slow", "evicted", "revalidated", "bypassed"),
    )


def _row(status: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    results = found.get("results") or {}
    return {
        "proxy": status.get("writer"),
        "hits": results.get("hit", 0),
        "misses": results.get("miss", 0),
        "bypassed": results.get("bypass", 0),
        "stored": results.get("stored", 0),
        "revalidated": results.get("revalidated", 0),
        "entries": found.get("entries"),
        "bytes": found.get("bytes"),
        "evicted": found.get("evicted"),
        "slow": results.get("slow", 0) + results.get("failed", 0),
    }


def _target(url: str, *, prefix: bool) -> str:
    parts = split_url(url)
    if not parts.path.startswith("/"):
        raise click.UsageError(f"--url {url[:80]!r}: write a URL, or a path such as /v1/models.")
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return target if prefix else target_of(target)
