"""Give the figures of all proxies of one ``llmproxy serve``, as if they were one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from addons.recording.histograms import MEASURES
from addons.recording.metrics import COUNTERS, GAUGES
from store.spool.status_files import read_all

Row = tuple[list[str], list[tuple[str, float]], float]
"""Labels, calls up to each bound, and seconds in all."""
Times = Callable[[str], Iterable[Row]]
VARIABLE = "LLMPROXY_GROUP"
"""It is that of a proxy's environment: an id that all proxies of one ``llmproxy serve`` have, those that
ended, too."""
SUMMED = (
    *(row.key or name for name, row in COUNTERS.items()),
    *(row.key for row in GAUGES.values() if row.sum == "all"),
)
"""Counts, in which a proxy that has ended still counts."""
OF_THE_LIVING = tuple(row.key for row in GAUGES.values() if row.sum == "living")


def group() -> str | None:
    """Give the id of the group that this proxy belongs to; None for one that runs by itself."""
    return os.environ.get(VARIABLE) or None


def others(spool: Path, own_writer: str) -> list[tuple[Mapping[str, Any], bool]]:
    """Give what the other proxies of the group said last, and whether each of them lives. Reads files."""
    return [
        (status.value, status.alive)
        for status in read_all(spool)
        if status.value.get("group") == group() and status.value.get("writer") != own_writer
    ]


def summed(own: Mapping[str, Any], rest: list[tuple[Mapping[str, Any], bool]]) -> dict[str, Any]:
    """Give the figures of a proxy with those of the others added.

    What an old version did not say counts as 0.
    """
    found = dict(own)
    for value, alive in rest:
        for name in (*SUMMED, *(OF_THE_LIVING if alive else ())):
            if name in value and name in own:
                found[name] = _sum(found[name], value[name])
        if alive:
            found["healthy"] = found["healthy"] and value.get("healthy", True)
    # They may read for several proxies, each of which names them.
    living = (own, *(value for value, alive in rest if alive))
    pids = {pid for one in living for pid in one.get("worker_pids", ())}
    return {**found, "worker_pids": sorted(pids), "worker_processes": len(pids)}


def told_times(times: Times) -> dict[str, Any]:
    """Give how long calls took, as figures of a proxy's status, from which the others sum."""
    return {"times": {measure: list(times(measure)) for measure in MEASURES}} if group() else {}


def times(own: Times, rest: list[tuple[Mapping[str, Any], bool]]) -> Times:
    """Give how long calls took, with those of the others added."""

    def of(measure: str) -> list[Row]:
        found: dict[tuple[str, ...], tuple[dict[str, float], float]] = {}
        told = [value.get("times", {}).get(measure, []) for value, _ in rest]
        for labels, buckets, seconds in (row for rows in (own(measure), *told) for row in rows):
            counts, sum_ = found.get(tuple(labels), ({}, 0.0))
            for bound, count in buckets:
                counts[bound] = counts.get(bound, 0) + count
            found[tuple(labels)] = counts, sum_ + seconds
        return [(list(labels), list(counts.items()), sum_) for labels, (counts, sum_) in found.items()]

    return of


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        empty = {name: _nothing(figure) for name, figure in other.items() if name not in one}
        return {
            name: _sum(figure, other.get(name, _nothing(figure))) for name, figure in {**one, **empty}.items()
        }
    if isinstance(one, str):  # a decimal
        return format(Decimal(one) + Decimal(other), "f")
    return one + other


def _nothing(figure: Any) -> Any:
    if isinstance(figure, Mapping):
        return {}
    return "0" if isinstance(figure, str) else 0
