"""``llmproxy report``: what was used, and what is left."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from scripts.options import Places, open_store, places
from scripts.output import show_all
from scripts.spool_commands import Moment
from store.engine import Connection, engine_of
from store.reports import WAYS, Usage, budgets, usage, usd_text
from store.spool import rolled

FIGURES = ("calls", "refused", "failed", "input_tokens", "output_tokens", "usd", "unpriced", "unreported")
"""Shown in a table; --json and --csv have all."""
BUDGETS = (
    *("project_name", "token_prefix", "limit", "allowed", "used", "held", "left", "percent", "reached"),
    "resets_at",
)
NAMED = {"project": ("project_name",), "token": ("token_prefix", "token_metadata")}


@click.group()
def report() -> None:
    """What was used, by whom, and what is left of the budgets. Kept in the store, not in the spool."""


@report.command(name="usage")
@click.option(
    "--by",
    type=click.Choice(WAYS),
    multiple=True,
    default=("project",),
    show_default=True,
    help="A row for each; may be repeated: --by day --by model.",
)
@click.option("--since", type=Moment(), help="From then on (12h, 30d ago, or a time), in whole hours.")
@click.option("--until", type=Moment(), help="Before then, in whole hours.")
@click.option("--project", metavar="ID_OR_NAME", help="Only calls of this project.")
@click.option("--token", metavar="ID", help="Only calls with this token.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def usage_(  # noqa: PLR0913 - one for each option
    *,
    by: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    project: str | None,
    token: str | None,
    as_csv: bool,
    as_json: bool,
    places: Places,
) -> None:
    """Calls, tokens and dollars, in UTC.

    A call counts in the hour in which it began, once it is over. `unpriced` calls have a usage without a
    known price, so the dollars are a lower bound; of `unreported` calls the API did not tell the usage, which
    is counted or estimated instead, where it can be. What is refused costs nothing.
    """
    _one_form(as_csv, as_json)
    with open_store(places) as store:
        asked = Usage(
            tuple(dict.fromkeys(by)),
            since,
            until,
            store.get_project(project).id if project else None,
            store.get_token(token).id if token else None,
        )
    with _connected(places) as connection:
        rows = usage(connection, asked)
    _tell_what_is_left_out(places)
    if as_csv:
        _print_csv(rows)
        return
    columns = [*(column for way in asked.by for column in (way, *NAMED.get(way, ()))), *FIGURES]
    shown = rows if as_json or not rows else [*rows, _sum(rows, columns)]
    show_all(shown, columns, as_json=as_json, nothing="There are no calls.")


@report.command(name="budgets")
@click.option("--project", metavar="ID_OR_NAME", help="Only those of this project and of its tokens.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def budgets_(*, project: str | None, as_csv: bool, as_json: bool, places: Places) -> None:
    """What is left of the budgets of projects and tokens, the fullest first.

    `used` is what was spent in the present period (UTC), `held` what calls under way may come to, `left` the
    rest; top-ups are in `allowed`. `reached` is the last of the marks 50, 80 and 100 %, each of which is told
    once in a period by an event (llm_proxy_budget). 100 is also reached when a call was refused because too
    little was left for it.
    """
    _one_form(as_csv, as_json)
    with open_store(places) as store:
        project_id = store.get_project(project).id if project else None
    with _connected(places) as connection:
        rows = budgets(connection, time.time(), project_id=project_id)
    _tell_what_is_left_out(places)
    if as_csv:
        _print_csv(rows)
    else:
        show_all(rows, BUDGETS, as_json=as_json, nothing="There are no budgets.")


@contextmanager
def _connected(places: Places) -> Iterator[Connection]:
    connection = engine_of(places.store).connect()
    try:
        yield connection
    finally:
        connection.close()


def _tell_what_is_left_out(places: Places) -> None:
    """Of proxies that were killed, or whose store was away at their end."""
    if writers := rolled.left_behind(places.spool):
        click.echo(
            f"The last calls of {len(writers)} proxies that ended are not in this yet; a running proxy "
            f"counts them within a minute (spool {places.spool}).",
            err=True,
        )


def _one_form(as_csv: bool, as_json: bool) -> None:
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two forms; choose one.")


def _sum(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """The last row of a table."""
    total: dict[str, Any] = dict.fromkeys(columns, "")
    total[columns[0]] = "total"
    for name in FIGURES:
        if name != "usd":
            total[name] = sum(row[name] for row in rows)
    return total | {"usd": usd_text(sum(row["nano_usd"] for row in rows))}


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    """Text that is no formula to a spreadsheet: users and models are what clients write."""
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
