"""Run ``llmproxy status``: show what the proxies on a spool have done, and what is still to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from scripts import output
from scripts.cells import as_text
from scripts.options import Places, places
from store.upkeep.overview import overview

Json = dict[str, Any]

EPILOG = """Figures are those of the proxy processes that wrote into the spool: living ones and, for a week,
ended ones. They are at most some seconds old. `gaps` are calls whose cost cannot be told for sure, by reason:
undecodable, unparsable, no_usage, unpriced, cut.

What is wrong comes first: a store that is missing, a full disk, a proxy that cannot write its events or has
not reported for 30 s, a dispatcher that fails or is five minutes behind.

Exit codes: 0 done, 1 something is wrong (being behind alone is not), or there is no spool, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@places
def status(*, as_json: bool, places: Places) -> None:
    """Show what the proxies have recorded, and what waits to be sent."""
    if not places.spool.is_dir():
        raise click.ClickException(f"there is no spool at {places.spool}; name it with --spool.")
    found = overview(places.store, places.spool, store_given=places.store_given)
    if as_json:
        output.show(found, as_json=True)
    else:
        show_incidents(found["incidents"])
        _print(found)
    if any(incident["severe"] for incident in found["incidents"]):
        raise click.exceptions.Exit(1)


def show_incidents(found: Iterable[Mapping[str, Any]]) -> None:
    """Print what is wrong, in red on a terminal; yellow what is only late."""
    for incident in found:
        colour = "red" if incident["severe"] else "yellow"
        click.secho(f"{incident['what'].upper()}: {as_text(incident['message'])}", fg=colour, bold=True)


def _print(found: Json) -> None:
    rows = [
        {
            "proxy": proxy.get("writer"),
            "pid": proxy.get("pid"),
            "state": _state(proxy),
            "reported": _ago(proxy),
            "since": proxy.get("started_at"),
            "recorded": proxy.get("recorded"),
            "queue": proxy.get("queue_length"),
            "open": proxy.get("open_calls"),
            "version": proxy.get("llmproxy"),
        }
        for proxy in found["proxies"]
    ]
    columns = ["proxy", "pid", "state", "reported", "since", "recorded", "queue", "open", "version"]
    output.show_all(
        rows,
        columns,
        as_json=False,
        nothing="No proxy has written into this spool.",
        droppable=("version", "since", "queue", "recorded"),
    )
    sums = {
        name: _line(found["totals"][name]) for name in ("outcomes", "endpoints", "refused", "gaps", "inexact")
    }
    click.echo()
    output.show(
        {**sums, "spool": f"{found['spool']['segments']} segments, {found['spool']['bytes']} bytes"},
        as_json=False,
    )
    consumers = [{"consumer": name, **one} for name, one in found["spool"]["consumers"].items()]
    click.echo()
    output.show_all(
        consumers,
        ["consumer", "backlog_bytes", "lag_seconds", "at_work", "dead_letters", "error"],
        as_json=False,
        nothing="No consumer has read this spool.",
        droppable=("error",),
    )


def _state(proxy: Mapping[str, Any]) -> str:
    if not proxy["alive"]:
        return "ended" if proxy.get("ended_at") else "killed"
    if proxy.get("stale"):
        return "stale"
    if proxy.get("store_trouble"):
        return "store away"
    return "serving" if proxy.get("healthy", True) else "cannot write"


def _ago(proxy: Mapping[str, Any]) -> str | None:
    return None if proxy["age_seconds"] is None else f"{proxy['age_seconds']:,.0f} s ago"


def _line(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in sorted(counts.items())) or "-"
