"""Reconcile one project of the store with what the vendor bills for its key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from dispatch.reconciliation.comparison import Ours, Pending, Reconciliation, compare
from dispatch.reconciliation.vendor import ApiKey, Vendor
from store.core.errors import Invalid, KeyUnavailable, NotFound, StoreError
from store.core.event import ReconciliationRecord
from store.core.periodic_thread import PeriodicThread
from store.core.secret import Secret
from store.core.times import rfc3339
from store.database.location import StoreLocation
from store.spool import SpoolWriter
from store.tokens.models import Project
from store.tokens.store import TokenStore
from store.usage.reports import Usage, usage

logger = logging.getLogger(__name__)

BATCHES = "batches"
"""Endpoint of the calls that fetch what batches used."""
TOLERANCE = Decimal("0.01")
DAY = timedelta(days=1)
LOOK_SECONDS = 60.0
"""Between two looks whether a day is over."""
SETTLING = timedelta(hours=6)
"""It says how long after a day's end the vendor's figures of it may still change."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Says what to reconcile."""

    project: str
    """Id or name."""
    since: datetime
    until: datetime
    tolerance: Decimal = TOLERANCE
    key_ids: Sequence[str] = ()
    """The vendor's ids of our project's key, with `vendor_project`; otherwise found by the key's ends."""
    vendor_project: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Says what came of it."""

    project: Project
    sharing: tuple[str, ...]
    """Names of other projects of the store with the same key: the vendor can't tell them apart."""
    asked: Asked
    found: Reconciliation

    @property
    def agrees(self) -> bool:
        return not self.found.beyond(self.asked.tolerance)

    def as_json(self) -> dict[str, Any]:
        return {
            "project_id": self.project.id,
            "project_name": self.project.name,
            "sharing_the_key": list(self.sharing),
            "since": rfc3339(self.asked.since),
            "until": rfc3339(self.asked.until),
            "tolerance": f"{self.asked.tolerance:f}",
            "agrees": self.agrees,
            "totals": [row.as_json() for row in self.found.totals],
            "days": [row.as_json() for row in self.found.rows if row.difference],
        }

    def as_record(self) -> ReconciliationRecord:
        """Give the record for the spool: the totals without the days."""
        shown = {name: value for name, value in self.as_json().items() if name != "days"}
        return ReconciliationRecord(event_id=str(uuid7()), timestamp=rfc3339(datetime.now(UTC)), **shown)


def whole_days(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Widen a time to whole days of UTC, as the vendor has them; nothing of today, which is not over."""
    start = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = until.astimezone(UTC)
    end = end.replace(hour=0, minute=0, second=0, microsecond=0) + (
        DAY if end.time() > datetime.min.time() else DAY * 0
    )
    end = min(end, midnight)
    if end <= start:
        raise Invalid(
            "there is no whole day (UTC) in that time; the vendor's figures of today are not complete."
        )
    return start, end


def reconcile(store: TokenStore, asked: Asked, connect: Callable[[Secret], Vendor]) -> Report:
    """Read both sides and compare them. Raises StoreError; VendorError where the vendor can't be asked."""
    project = store.get_project(asked.project)
    admin_key = store.keys.read_admin(project.id)
    if admin_key is None:
        raise NotFound(
            f"project {project.name!r} has no admin key; `llmproxy keys set-admin {project.name} -` takes "
            "one, which only reads what the vendor bills."
        )
    vendor = connect(admin_key)
    key = store.keys.read(project.id, project.key)
    projects = [project, *_sharing(store, project, key)]
    if asked.vendor_project:
        vendor_projects, key_ids = (asked.vendor_project,), frozenset(asked.key_ids)
    else:
        ours = _find_key(vendor, key)
        vendor_projects, key_ids = (ours.project,), frozenset({ours.id})
    sums = [one for each in projects for one in _sums(store, each, asked)]
    found = compare(
        sums,
        vendor.usage(asked.since, asked.until, vendor_projects),
        vendor.costs(asked.since, asked.until, vendor_projects),
        keys=key_ids,
        pending=Pending(_unfinished(store, projects)),
    )
    return Report(project, tuple(one.name for one in projects[1:]), asked, found)


def _sharing(store: TokenStore, project: Project, key: Secret) -> list[Project]:
    """Find the other projects with the same key; those whose key can't be read are not among them."""
    found = []
    for other in store.list_projects():
        if other.id == project.id:
            continue
        try:
            if store.keys.read(other.id, other.key).reveal() == key.reveal():
                found.append(other)
        except KeyUnavailable as error:
            logger.warning("the key of project %r can't be compared: %s", other.name, error)
    return found


def _find_key(vendor: Vendor, key: Secret) -> ApiKey:
    """Find our key among the organisation's. Raises NotFound where none, or more than one, may be it."""
    fitting = [one for one in vendor.api_keys() if one.fits(key)]
    if len(fitting) != 1:
        what = "no key" if not fitting else f"{len(fitting)} keys"
        raise NotFound(
            f"{what} of the organisation fits the project's key; name it: --vendor-project proj_... "
            "--key-id key_..."
        )
    return fitting[0]


def _sums(store: TokenStore, project: Project, asked: Asked) -> list[Ours]:
    by = Usage(("day", "model", "endpoint"), asked.since, asked.until, project.id)
    return [
        Ours(
            day=row["day"],
            model=row["model"] or "",
            batch=row["endpoint"] == BATCHES,
            calls=row["calls"] - row["refused"],
            failed=row["failed"],
            unreported=row["unreported"],
            unpriced=row["unpriced"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            usd=Decimal(row["nano_usd"]).scaleb(-9),
        )
        for row in usage(store.connection, by)
        if row["model"] or row["nano_usd"]
    ]


def _unfinished(store: TokenStore, projects: Sequence[Project]) -> int:
    rows = store.connection.rows(
        "SELECT COUNT(*) AS number FROM objects WHERE due = 1 AND project_id IN :ids",
        ids=[project.id for project in projects],
    )
    return int(rows[0]["number"])


class Daily:
    """Reconciles projects each day, in a thread, and writes what came of it into the spool."""

    def __init__(
        self, place: StoreLocation, spool: Path, projects: Sequence[str], connect: Callable[[Secret], Vendor]
    ) -> None:
        self._place = place
        self._spool = spool
        self._projects = projects
        self._connect = connect
        self._done: datetime | None = None
        """The day that was reconciled last."""
        self._thread = PeriodicThread("llmproxy-reconcile", self._look, pause=lambda: LOOK_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._thread.close(5)

    def _look(self) -> None:
        day = (datetime.now(UTC) - SETTLING).replace(hour=0, minute=0, second=0, microsecond=0)
        if day != self._done:
            self.run(day - DAY, day)
            self._done = day

    def run(self, since: datetime, until: datetime) -> None:
        """Reconcile every project once; one that fails is logged and does not hold up the others."""
        records = []
        try:
            store = TokenStore.open(self._place, create=False)
        except StoreError as error:
            logger.error("reconciliation: %s", error)
            return
        try:
            for project in self._projects:
                try:
                    report = reconcile(store, Asked(project, since, until), self._connect)
                except StoreError as error:
                    logger.error("reconciliation of project %r: %s", project, error)
                    continue
                (logger.info if report.agrees else logger.warning)(
                    "reconciliation of project %r: %s", project, "agrees" if report.agrees else "differs"
                )
                records.append(report.as_record())
        finally:
            store.close()
        if records:
            writer = SpoolWriter(self._spool)
            writer.append(records)
            writer.close()
