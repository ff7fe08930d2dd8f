"""Gather all that proxies and dispatchers say of themselves: `llmproxy status`, `/manage/health`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from store.database.location import StoreLocation
from store.spool.backlog import backlogs
from store.spool.segment import segments
from store.spool.status_files import Status, read_all
from store.upkeep.fleet import consumers_of, spools
from store.upkeep.incidents import age_of, elsewhere, incidents, is_stale

Json = dict[str, Any]


def overview(
    store: StoreLocation, spool: Path, *, store_given: bool = True, others: Sequence[Status] = ()
) -> Json:
    """Return all that is known: what is wrong, each proxy, their sums, the spool and its consumers.

    `others`: proxies on the store with a spool elsewhere (:func:`store.upkeep.fleet.elsewhere`).
    """
    statuses = read_all(spool)
    paths = segments(spool)
    found = [*incidents(store, spool, statuses, backlogs(spool), store_given=store_given), *elsewhere(others)]
    shown = [*((status, True) for status in statuses), *((status, False) for status in others)]
    return {
        "incidents": [incident.as_dict() for incident in found],
        "proxies": [
            {
                **{name: value for name, value in status.value.items() if name != "consumers"},
                "alive": status.alive,
                "stale": is_stale(status),
                "age_seconds": _age(status),
                "here": here,
            }
            for status, here in shown
        ],
        "totals": totals([*statuses, *others]),
        "spool": {
            "path": str(spool),
            "segments": len(paths),
            "bytes": sum(path.stat().st_size for path in paths if path.exists()),
            "consumers": consumers_of(spool),
        },
        "other_spools": list(spools(others)),
    }


def local_writers(spool: Path) -> set[str]:
    """Name the proxies that have a status file here."""
    return {str(status.value.get("writer")) for status in read_all(spool)}


def _age(status: Status) -> float | None:
    age = age_of(status.value)
    return None if age is None else round(age, 1)


def totals(statuses: Iterable[Status]) -> Json:
    """Give the sums over all proxies; queue and open calls of living ones only."""
    calls: Counter[str] = Counter()
    endpoints: Counter[str] = Counter()
    sums: dict[str, Counter[str]] = {
        name: Counter() for name in ("refused", "gaps", "inexact", "usage_sources")
    }
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
