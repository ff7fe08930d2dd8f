"""Run ``llmproxy import``: make recorded traffic events."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.progress import Progress

from addons.flow.identity import user_named
from addons.importing import Damaged, Unreadable, event_id, read, to_exchange
from addons.recording.cost import BUNDLED, Prices
from addons.recording.event_builder import event_of
from addons.recording.shared_usage import Import, priced_anew
from scripts.commands.figures.prices import in_force
from scripts.inputs import open_input, progress
from scripts.options import Pair, Places, open_store, places, prices_option
from store.core.event import UsageEvent
from store.core.event_fields import to_fields
from store.core.printable import printable
from store.spool import SpoolWriter
from store.spool.imported import Imports
from store.tokens import validation

BATCH = 100
"""Events between two commits."""

EPILOG = """FILE may be a flow file of mitmproxy (-w), HAR 1.2, or JSON Lines with method, url, status,
headers and bodies; gzipped or not; - is standard input. Which it is, is found out from its beginning.

The events are the same as those of live traffic. An exchange has the same event_id whenever it is imported,
so a second import of a file adds nothing.

Exit codes: 0 all read, 1 a file is damaged (what came before it counts) or unreadable, 2 wrong usage."""


@dataclass(slots=True)
class Totals:
    """Counts what one run did."""

    events: int = 0
    added: int = 0
    damaged: list[str] = field(default_factory=list)


@click.command("import", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print the events, one a line, and store nothing.")
@click.option("--token", metavar="ID_OR_NAME", help="The token that the calls are attributed to.")
@click.option("--project", metavar="ID_OR_NAME", help="The project that the calls are attributed to.")
@click.option(
    "--metadata", "pairs", type=Pair(), multiple=True, help="A pair for the events; may be repeated."
)
@click.option(
    "--deployment",
    "deployments",
    type=Pair(),
    multiple=True,
    help="The model of an Azure deployment, as NAME=MODEL; may be repeated.",
)
@prices_option
@places
def import_(  # noqa: PLR0913 - one for each option
    *,
    files: tuple[str, ...],
    as_json: bool,
    token: str | None,
    project: str | None,
    pairs: tuple[tuple[str, str], ...],
    deployments: tuple[tuple[str, str], ...],
    prices: Prices | None,
    places: Places,
) -> None:
    """Turn recorded traffic into events: of mitmproxy, of a browser, of tests."""
    attribution = _attribution(places, token, project, dict(pairs))
    totals, in_use = Totals(), in_force(places, prices or BUNDLED)
    with ExitStack() as stack:
        destination: _Printed | _Spooled = _Printed() if as_json else _Spooled(places.spool)
        stack.callback(destination.close)
        bar = stack.enter_context(progress())
        for name in files:
            events = _events(name, bar, totals, dict(deployments), in_use)
            for batch in _batches(events, BATCH):
                totals.events += len(batch)
                totals.added += destination.take([replace(event, **attribution) for event in batch])
    for damage in totals.damaged:
        click.echo(f"Error: {printable(damage)}", err=True)
    if not as_json:
        known = totals.events - totals.added
        click.echo(f"{totals.added} events added, {known} known already.", err=True)
    if totals.damaged:
        raise click.exceptions.Exit(1)


def _events(
    name: str, bar: Progress, totals: Totals, deployments: Mapping[str, str], prices: Prices
) -> Iterator[UsageEvent]:
    repeats: Counter[str] = Counter()
    accounts = Import()
    count = 0
    try:
        with open_input(name, bar) as file:
            for recorded in read(file):
                first = event_id(recorded)
                exchange = to_exchange(recorded, repeat=repeats[first], deployments=deployments)
                repeats[first] += 1
                count += 1
                event = event_of(exchange, prices=prices)
                yield priced_anew(event, accounts.decide(event), prices)
    except Damaged as error:
        totals.damaged.append(f"{name}: {error}; the {count} exchanges before it were read.")
    except Unreadable as error:
        totals.damaged.append(f"{name}: {error}.")
    except OSError as error:
        totals.damaged.append(f"{name}: {error.strerror or error}.")


def _batches(events: Iterable[UsageEvent], size: int) -> Iterator[list[UsageEvent]]:
    batch: list[UsageEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class _Printed:
    """Writes to standard output."""

    def close(self) -> None:
        sys.stdout.flush()

    def take(self, events: list[UsageEvent]) -> int:
        for event in events:
            click.echo(json.dumps(to_fields(event), separators=(",", ":")))
        return len(events)


class _Spooled:
    """Writes to the spool, without what it was given before."""

    def __init__(self, folder: Path) -> None:
        self._imports = Imports(folder)
        self._writer = SpoolWriter(folder)

    def close(self) -> None:
        self._writer.close()
        self._imports.close()

    def take(self, events: list[UsageEvent]) -> int:
        by_id = {str(event.event_id): event for event in events}
        known = self._imports.known(by_id)
        fresh = {id_: event for id_, event in by_id.items() if id_ not in known}
        if fresh:
            self._writer.append(list(fresh.values()))
            self._imports.add(fresh)
        return len(fresh)


def _attribution(
    places: Places, token: str | None, project: str | None, metadata: Mapping[str, str]
) -> dict[str, Any]:
    """Say whose calls these were, as fields of their events; recordings do not tell."""
    fields: dict[str, Any] = {}
    own, inherited = dict(metadata), {}
    validation.metadata(own)
    if token or project:
        with open_store(places) as store:
            found = store.get_token(store.token_id(token)) if token else None
            owner = store.project_id(project) if project else found.project_id if found else ""
            holder = store.get_project(owner)
        if found and found.project_id != holder.id:
            raise click.UsageError(f"token {found.id} belongs to another project than {holder.name}.")
        fields |= {"project_id": holder.id, "project_name": holder.name}
        inherited = dict(holder.metadata)
        if found:
            fields["token_id"] = found.id
            own = {**found.metadata, **own}
    if pairs := {**inherited, **own}:
        fields["token_metadata"] = pairs
    if user := user_named(own, inherited):
        fields["user"] = user
    return fields
