"""Run ``llmproxy reconcile``: show our sums beside what the vendor bills."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import click

from dispatch.reconciliation.service import TOLERANCE, Asked, Report, reconcile, whole_days
from dispatch.reconciliation.vendor import BASE_URL, Vendor
from scripts.commands.spool import Moment
from scripts.options import Places, open_store, places
from scripts.output import show_all

COLUMNS = ("day", "model", "measure", "ours", "theirs", "difference", "explained_by")

EPILOG = """The admin key is the project's: `llmproxy keys set-admin PROJECT -`. The key's place in the
vendor's organisation is found by the ends of the key that the vendor shows, or named with --vendor-project
and --key-id.

Exit codes: 0 the totals agree within --tolerance, 1 they do not or a side could not be read, 2 wrong
usage."""


class Part(click.ParamType[Decimal]):
    """Reads a part of a whole: ``0.01`` or ``1%``."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        try:
            number = Decimal(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except InvalidOperation:
            number = Decimal(-1)
        if not 0 <= number <= 1:
            self.fail(f"{value!r}: write 1% or 0.01.", param, ctx)
        return number


@click.command(name="reconcile", epilog=EPILOG)
@click.option("--project", required=True, metavar="ID_OR_NAME", help="The project whose key is looked at.")
@click.option("--since", type=Moment(), required=True, help="From that day on (30d, 2026-11-01), in UTC.")
@click.option("--until", type=Moment(), help="Up to that day.  [default: yesterday, as a whole]")
@click.option(
    "--tolerance",
    type=Part(),
    default=TOLERANCE,
    help="Part of a total by which the sides may differ.  [default: 1%]",
)
@click.option("--vendor-project", metavar="PROJ_ID", help="The vendor's id of the project.")
@click.option(
    "--key-id",
    "key_ids",
    multiple=True,
    metavar="KEY_ID",
    help="The vendor's id of the key; may be repeated.",
)
@click.option("--by-day", is_flag=True, help="Also each day on which a figure differs.")
@click.option(
    "--base-url",
    default=BASE_URL,
    show_default=True,
    envvar="LLMPROXY_ADMIN_BASE_URL",
    show_envvar=True,
    help="Where the vendor's usage and costs are read.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@places
def reconcile_(  # noqa: PLR0913 - one for each option
    *,
    project: str,
    since: datetime,
    until: datetime | None,
    tolerance: Decimal,
    vendor_project: str | None,
    key_ids: tuple[str, ...],
    by_day: bool,
    base_url: str,
    as_csv: bool,
    as_json: bool,
    places: Places,
) -> None:
    """Hold our sums against the vendor's own usage and costs, and say what explains each difference."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two forms; choose one.")
    if key_ids and not vendor_project:
        raise click.UsageError("--key-id needs --vendor-project.")
    start, end = whole_days(since, until or datetime.now(UTC))
    with open_store(places) as store:
        asked = Asked(store.project_id(project), start, end, tolerance, key_ids, vendor_project)
        report = reconcile(store, asked, partial(Vendor, base_url=base_url))
    _print(report, by_day=by_day, as_csv=as_csv, as_json=as_json)
    if not report.agrees:
        raise click.exceptions.Exit(1)


def _print(report: Report, *, by_day: bool, as_csv: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_json()))
        return
    found = report.found
    rows = [row.as_json() for row in found.totals + [row for row in found.rows if by_day and row.difference]]
    if as_csv:
        writer = csv.DictWriter(sys.stdout, [*COLUMNS, "unexplained"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "explained_by": " ".join(row["explained_by"])} for row in rows)
        return
    show_all(
        rows,
        COLUMNS,
        as_json=False,
        nothing="Neither side has a call in that time.",
        droppable=("theirs", "day"),
    )
    if report.sharing:
        click.echo(
            f"The same key is used by {', '.join(report.sharing)}; their calls are among ours.", err=True
        )
    verdict = "agree" if report.agrees else "DO NOT AGREE"
    click.echo(f"The totals {verdict} within {report.asked.tolerance * 100:f} %.", err=True)
