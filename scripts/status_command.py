"""``llmproxy status``: what the proxies on a spool have done, and what is still to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from scripts import output
from scripts.options import Places, places
from store.spool.backlog import backlogs
from store.spool.segment import segments
from store.status import Status, read_all

Json = dict[str, Any]

EPILOG = """Figures are those of the proxy processes that wrote into the spool: living ones and, for a week,
ended ones. They are at most some seconds old. `gaps` are calls whose cost cannot be told for sure, by reason:
undecodable, unparsable, no_usage, unpriced, cut.

Exit codes: 0 done, 1 there is no spool, or a living proxy cannot write its events, 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@places
def status(*, as_json: bool, places: Places) -> None:
    """Show what the proxies have recorded, and what waits to be sent."""
    if not places.spool.is_dir():
        raise click.ClickException(f"there is no spool at {places.spool}; name it with --spool.")
    found = summary(places.spool)
    if as_json:
        output.show(found, as_json=True)
    else:
        _print(found)
    if any(proxy["alive"] and not proxy.get("healthy", True) for proxy in found["proxies"]):
        raise click.exceptions.Exit(1)


def summary(spool: Path) -> Json:
    """All that is known: each proxy, their sums, the spool and its consumers."""
    statuses = read_all(spool)
    paths = segments(spool)
    return {
        "proxies": [status.value | {"alive": status.alive} for status in statuses],
        "totals": totals(statuses),
        "spool": {
            "path": str(spool),
            "segments": len(paths),
            "bytes": sum(path.stat().st_size for path in paths if path.exists()),
            "consumers": {
                name: {"backlog_bytes": one.bytes, "at_work": one.at_work, "dead_letters": one.dead}
                for name, one in backlogs(spool).items()
            },
        },
    }


def totals(statuses: Iterable[Status]) -> Json:
    """The sums over all proxies; queue and open calls of living ones only."""
    calls: Counter[str] = Counter()
    endpoints: Counter[str] = Counter()
    sums: dict[str, Counter[str]] = {name: Counter() for name in ("refused", "gaps", "usage_sources")}
    alive = recorded = queue = open_calls = 0
    for one in statuses:
        value = one.value
        for endpoint, outcomes in _map(value.get("calls")).items():
            calls.update(_map(outcomes))
            endpoints[endpoint] += sum(_map(outcomes).values())
        for name, counter in sums.items():
            counter.update(_map(value.get(name)))
        recorded += value.get("recorded") or 0
        if one.alive:
            alive += 1
            queue += value.get("queue_length") or 0
            open_calls += value.get("open_calls") or 0
    return {
        "alive": alive,
        "open_calls": open_calls,
        "queue_length": queue,
        "recorded": recorded,
        "outcomes": dict(calls),
        "endpoints": dict(endpoints),
        **{name: dict(counter) for name, counter in sums.items()},
    }


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _print(found: Json) -> None:
    rows = [
        {
            "proxy": proxy.get("writer"),
            "pid": proxy.get("pid"),
            "state": _state(proxy),
            "since": proxy.get("started_at"),
            "recorded": proxy.get("recorded"),
            "queue": proxy.get("queue_length"),
            "open": proxy.get("open_calls"),
            "version": proxy.get("llmproxy"),
        }
        for proxy in found["proxies"]
    ]
    columns = ["proxy", "pid", "state", "since", "recorded", "queue", "open", "version"]
    output.show_all(rows, columns, as_json=False, nothing="No proxy has written into this spool.")
    sums = {name: _line(found["totals"][name]) for name in ("outcomes", "endpoints", "refused", "gaps")}
    click.echo()
    output.show(
        {**sums, "spool": f"{found['spool']['segments']} segments, {found['spool']['bytes']} bytes"},
        as_json=False,
    )
    consumers = [{"consumer": name, **one} for name, one in found["spool"]["consumers"].items()]
    click.echo()
    output.show_all(
        consumers,
        ["consumer", "backlog_bytes", "at_work", "dead_letters"],
        as_json=False,
        nothing="No consumer has read this spool.",
    )


def _state(proxy: Mapping[str, Any]) -> str:
    if not proxy["alive"]:
        return "ended" if proxy.get("ended_at") else "killed"
    return "serving" if proxy.get("healthy", True) else "cannot write"


def _line(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in sorted(counts.items())) or "-"
