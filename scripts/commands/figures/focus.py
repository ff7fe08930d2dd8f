"""Run ``llmproxy report focus``: write usage as FOCUS, for tools that read the bills of many vendors."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from scripts.commands.figures.report_periods import PERIODS
from scripts.commands.figures.report_scope import between, connected, tell_what_is_left_out
from scripts.commands.spool import Moment
from scripts.options import Places, open_store, places
from store.usage import focus as focus_rows
from store.usage.csv_text import write_csv
from store.usage.focus import Bill
from store.usage.reports import Usage


@click.command()
@click.option(
    "--by",
    "length",
    type=click.Choice(focus_rows.PERIODS),
    default="day",
    show_default=True,
    help="How long a charge period is.",
)
@click.option("--since", type=Moment(), help="From then on (30d ago, or a time), in whole hours.")
@click.option("--until", type=Moment(), help="Before then, in whole hours.")
@click.option("--period", type=click.Choice(list(PERIODS)), help="In place of --since and --until; in UTC.")
@click.option("--project", metavar="ID_OR_NAME", help="Only calls of this project.")
@click.option(
    "--billing-account",
    metavar="ID",
    default="unknown",
    show_default=True,
    help="The vendor's id of the organisation that pays (org-...); the sums do not tell it.",
)
@click.option(
    "--provider",
    default="OpenAI",
    show_default=True,
    help="Who sells; with --project, where a project's calls go elsewhere.",
)
@places
def focus(  # noqa: PLR0913 - one for each option
    *,
    length: str,
    since: datetime | None,
    until: datetime | None,
    period: str | None,
    project: str | None,
    billing_account: str,
    provider: str,
    places: Places,
) -> None:
    """Usage as CSV in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

    A row for each hour or day of UTC, project, token, model and endpoint. Costs are those of `report usage`;
    where some are not known, the row says so in ChargeDescription and in x_UnpricedCalls, x_LowerBoundCalls,
    x_UnreportedCalls and x_ApproximateCalls. What each column means is in docs/finance.md.
    """
    start, end = between(since=since, until=until, period=period, zone=UTC)
    with open_store(places) as store:
        owner = store.get_project(store.project_id(project)).id if project else None
    tell_what_is_left_out(places)
    with connected(places) as connection:
        asked = Usage(since=start, until=end, project_id=owner)
        write_csv(sys.stdout, focus_rows.rows(connection, asked, length, Bill(billing_account, provider)))
