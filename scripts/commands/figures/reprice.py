"""Run ``llmproxy reprice``: find costs that were not known from the usage that was kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import click
from rich.progress import Progress

from addons.recording.cost import BUNDLED, Prices
from addons.recording.repricing import Repriced, Repricer
from scripts.commands.figures.prices import in_force
from scripts.inputs import open_input, progress
from scripts.options import Places, open_store, places, prices_option
from store.core.errors import NotFound, SpoolError
from store.core.event import UsageEvent
from store.core.event_fields import read_record
from store.core.printable import printable
from store.prices import repricings
from store.prices.repricings import Repricing
from store.spool import SpoolWriter, parse, scan
from store.tokens.store import TokenStore
from store.usage.rollups import RollUps

BATCH = 100
"""Records between two commits."""

EPILOG = """FILE holds events, one JSON object a line, as the spool or a dispatcher's file has them; - is
standard input. Without FILE it is the spool.

The calls whose cost is another now are printed with it, one a line. For each a record of the type
llm_proxy_repricing goes into the spool, and from there to every backend (docs/cost.md), and the sums of the
store change with it: what reports and budgets show. A second run finds nothing to do. A cost that is known
is never taken back.

Exit codes: 0 done, 1 a file or line could not be read (the others were), 2 wrong usage."""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--all", "everything", is_flag=True, help="Also calls whose cost is known already.")
@click.option("--dry-run", is_flag=True, help="Only count: print no event, and write nothing.")
@click.option("--print-only", is_flag=True, help="Print the events, and write nothing into the spool.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the counts as one object.")
@prices_option
@places
def reprice(
    *,
    files: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    print_only: bool,
    as_json: bool,
    prices: Prices | None,
    places: Places,
) -> None:
    """Price recorded calls again, where their cost is not known."""
    if as_json and not dry_run:
        raise click.UsageError("--json shows counts; it needs --dry-run.")
    if not files and not places.spool.is_dir():
        raise SpoolError(f"there is no spool at {places.spool}; name the right folder, or a file of events.")
    repricer = Repricer(in_force(places, prices or BUNDLED), everything=everything)
    troubles: list[str] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress())
        if places.spool.is_dir():
            repricer.learn(scan(places.spool))
        records = _lines(files, bar, troubles) if files else scan(places.spool)
        found = repricer.reprice(records)
        if dry_run:
            for _ in found:
                pass
        else:
            _write(found, None if print_only else stack.enter_context(_Kept(places)))
    _sum_up(repricer, as_json=as_json, dry_run=dry_run)
    for trouble in troubles:
        click.echo(f"Error: {printable(trouble)}", err=True)
    if troubles:
        raise click.exceptions.Exit(1)


class _Kept:
    """Holds the store's sums and the spool; a segment is made when there is something to write.

    The sums go first, and count each repricing once. So a run that was cut off between the two is made good
    by the next one, which finds no record in the spool and repeats both.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._writer: SpoolWriter | None = None
        self._store: TokenStore | None = None
        self._waiting: list[Repriced] = []
        self._rollups = RollUps()
        self._opened = ExitStack()

    def __enter__(self) -> _Kept:
        with suppress(NotFound):  # a spool without a store: there are no sums
            self._store = self._opened.enter_context(open_store(self._places))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._opened:
            self.flush()
            if self._writer is not None:
                self._writer.close()

    def put(self, repriced: Repriced) -> None:
        self._waiting.append(repriced)
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        if self._store is not None:
            self._correct_sums(self._store)
        self._writer = self._writer or SpoolWriter(self._places.spool)
        self._writer.append([repriced.record for repriced in self._waiting])
        self._waiting = []

    def _correct_sums(self, store: TokenStore) -> None:
        found = [Repricing(read_record(each.call, UsageEvent), each.cost) for each in self._waiting]
        with store.audit.change("usage.reprice") as change:
            if corrected := repricings.apply(store.connection, found, self._rollups):
                change.note(None, {"calls": corrected})


def _write(found: Iterable[Repriced], kept: _Kept | None) -> None:
    for repriced in found:
        if kept is not None:
            kept.put(repriced)
        click.echo(json.dumps(repriced.event, separators=(",", ":")))
    sys.stdout.flush()


def _lines(files: Iterable[str], bar: Progress, troubles: list[str]) -> Iterator[dict[str, Any]]:
    for name in files:
        try:
            with open_input(name, bar) as file:
                for number, line in enumerate(file, 1):
                    record = parse(line)
                    if record is not None:
                        yield record
                    elif line.strip():
                        troubles.append(f"{name}: line {number} is no JSON object; it was skipped.")
        except OSError as error:
            troubles.append(f"{name}: {error.strerror or error}.")


def _sum_up(repricer: Repricer, *, as_json: bool, dry_run: bool) -> None:
    totals = repricer.totals
    if as_json:
        shown = {"calls": totals.calls, "unknown": totals.unknown, "repriced": totals.repriced}
        click.echo(json.dumps({**shown, "reasons": dict(totals.reasons)}))
        return
    verb = "would get another cost" if dry_run else "got another cost"
    left = ", ".join(f"{reason} {count}" for reason, count in sorted(totals.reasons.items()))
    click.echo(
        f"{totals.calls} calls, {totals.unknown} of unknown cost; {totals.repriced} {verb}"
        f"{f'; still without a price: {left}' if left else ''}.",
        err=not dry_run,
    )
