"""Find what is wrong right now with proxies, store, disk and dispatchers.

`status`, `doctor` and the management API say the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store.database.location import StoreLocation
from store.spool import dispatcher_states
from store.spool.backlog import Backlog, backlogs
from store.spool.status_files import Status

FULL_DISK = 2**20
"""Bytes that are free on a disk that counts as full."""
STALE_SECONDS = 30.0
"""A living proxy reports every 3 s."""
LAG_SECONDS = 300.0
RECENT_SECONDS = 3600.0
"""For which a proxy elsewhere is missed."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Describes something that is wrong."""

    what: str
    """store, disk, proxy, upstream or dispatcher."""
    code: str
    subject: str
    """The proxy (its writer), consumer, path or upstream that it is about."""
    text: str
    error: str | None = None
    """It is what a backend or a store has said, if that is known."""
    severe: bool = True
    """False for what is only late, or ends by itself."""
    place: str | None = None
    """`HOST:SPOOL` of another spool than the one here."""

    @property
    def message(self) -> str:
        """Say all of it."""
        return self.text if self.error is None else f"{self.text}: {self.error}"

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON output."""
        names = ("what", "code", "subject", "place", "message", "severe")
        return {name: getattr(self, name) for name in names}


def incidents(
    store: StoreLocation,
    spool: Path,
    statuses: Sequence[Status],
    consumers: Mapping[str, Backlog],
    *,
    store_given: bool = True,
) -> Iterator[Incident]:
    """Give what is wrong, the worst first; `store_given`: somebody said that the store is there."""
    yield from _store(store, statuses, store_given=store_given)
    yield from full_disks(store, spool)
    for status in statuses:
        yield from _proxy(status)
    yield from (replace(found, severe=False) for found in missing(statuses))
    states = dispatcher_states.read(spool)
    for name, backlog in consumers.items():
        yield from _dispatcher(name, backlog, states.get(name, {}), name=name)


def elsewhere(statuses: Sequence[Status]) -> Iterator[Incident]:
    """Give what is wrong with proxies on other spools, and with the dispatchers there."""
    for status in statuses:
        place = place_of(status)
        yield from (replace(found, place=place) for found in _proxy(status))
        for name, one in (status.value.get("consumers") or {}).items():
            backlog = Backlog(
                one["backlog_bytes"], one["lag_seconds"], at_work=one["at_work"], dead=one["dead_letters"]
            )
            if status.alive:
                host = status.value.get("host")
                for found in _dispatcher(name, backlog, one, name=f"{name} on {host}"):
                    yield replace(found, place=place)
    yield from missing(statuses)


def missing(statuses: Sequence[Status], within: float = RECENT_SECONDS) -> Iterator[Incident]:
    """Give the proxies that went away for no longer than that, have not said so, and were not replaced."""
    living = [status for status in statuses if status.alive]
    for status in statuses:
        age = age_of(status.value)
        if status.alive or status.value.get("ended_at") or age is None or age >= within:
            continue
        if any(_replaces(other, status) for other in living):
            continue
        place = place_of(status)
        text = (
            f"proxy {status.value.get('writer')} (on {status.value.get('host')}) has not reported for "
            f"{age:.0f} s, and did not say that it ends"
        )
        yield Incident("proxy", "proxy_missing", str(status.value.get("writer")), text, place=place)


def place_of(status: Status) -> str | None:
    """Name the spool of a proxy elsewhere; None for one that is here."""
    spool = status.value.get("spool")
    return None if spool is None else f"{status.value.get('host')}:{spool}"


def _replaces(other: Status, status: Status) -> bool:
    """Tell whether a living proxy has begun on the same spool since another one was last heard of."""
    since, until = other.value.get("started_at"), status.value.get("updated_at")
    return place_of(other) == place_of(status) and str(since) > str(until)


def age_of(value: Mapping[str, Any]) -> float | None:
    """Return how many seconds ago a proxy or a dispatcher has reported; None where it does not say."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(str(value["updated_at"])).timestamp())
    except (KeyError, ValueError):
        return None


def is_stale(status: Status) -> bool:
    """Return whether a proxy lives and has stopped reporting."""
    age = age_of(status.value)
    return status.alive and age is not None and age > STALE_SECONDS


def _store(store: StoreLocation, statuses: Sequence[Status], *, store_given: bool) -> Iterator[Incident]:
    used = {Path(place) for status in statuses if status.alive and (place := _path(status))}
    if store_given and store.path is not None:
        used.add(store.path)
    for path in sorted(used):
        if (path.is_absolute() and not path.exists()) or (path == store.path and not path.exists()):
            text = f"the token store {path} is missing; bring the file back, or restore a backup of it"
            yield Incident("store", "store_missing", str(path), text)


def _path(status: Status) -> str | None:
    place = str((status.value.get("options") or {}).get("llm_store") or "")
    return place if place and "://" not in place else None


def late_dispatchers(spool: Path) -> list[Incident]:
    """List the dispatchers that fail or are far behind."""
    states = dispatcher_states.read(spool)
    return [
        incident
        for name, backlog in backlogs(spool).items()
        for incident in _dispatcher(name, backlog, states.get(name, {}), name=name)
    ]


def full_disks(store: StoreLocation, spool: Path) -> Iterator[Incident]:
    """Give an incident for each disk on which nothing more can be written."""
    folders = {"spool": spool}
    if store.path is not None:
        folders["store"] = store.path.parent
    for name, folder in folders.items():
        if folder.is_dir() and (free := shutil.disk_usage(folder).free) < FULL_DISK:
            text = f"the disk of the {name} is full: {free:,} bytes are free at {folder}; make room"
            yield Incident("disk", "disk_full", str(folder), text)


def _proxy(status: Status) -> Iterator[Incident]:
    if not status.alive:
        return
    writer = str(status.value.get("writer"))
    name = f"proxy {writer} (pid {status.value.get('pid')})"
    if is_stale(status):
        text = f"{name} has not reported for {age_of(status.value):.0f} s; it hangs, or can't write its file"
        yield Incident("proxy", "proxy_stale", writer, text)
    if trouble := status.value.get("store_trouble"):
        text = f"{name} cannot read its store, and refuses new calls"
        yield Incident("store", "store_unavailable", writer, text, str(trouble))
    if not status.value.get("healthy", True):
        text = f"{name} cannot write its events, and refuses new calls"
        yield Incident("proxy", "spool_unavailable", writer, text)
    for upstream in status.value.get("circuits") or ():
        text = f"{upstream} fails, and {name} refuses calls to it for a while"
        yield Incident("upstream", "circuit_open", str(upstream), text, severe=False)


def _dispatcher(
    consumer: str, backlog: Backlog, state: Mapping[str, Any], *, name: str
) -> Iterator[Incident]:
    if error := state.get("error"):
        since = state.get("updated_at") or datetime.now(UTC).isoformat()
        text = f"{name} fails ({backlog.lag_seconds:.0f} s behind)"
        yield Incident("dispatcher", "sink_failing", consumer, text, f"{error} (at {since})")
    elif backlog.lag_seconds > LAG_SECONDS:
        work = "at work" if backlog.at_work else "not at work"
        text = f"{name} is {backlog.lag_seconds:.0f} s behind, and {work}"
        yield Incident("dispatcher", "sink_behind", consumer, text, severe=False)
