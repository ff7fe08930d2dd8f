"""Run ``llmproxy report``: show what was used, and what is left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from scripts.commands.access.sessions import DROPPABLE as DROPPABLE_SESSIONS
from scripts.commands.access.sessions import LISTED
from scripts.commands.figures.focus import focus
from scripts.commands.figures.report_page import write_page
from scripts.commands.figures.report_periods import PERIODS
from scripts.commands.figures.report_scope import between, connected, tell_what_is_left_out
from scripts.commands.spool import Moment
from scripts.options import Places, open_store, places
from scripts.output import Row, show_all
from store.core import times as moments
from store.core.errors import Invalid
from store.database.engine import Connection
from store.ledger import sessions as summed
from store.usage.breakdown import LABEL, Question, break_down
from store.usage.csv_text import write_csv
from store.usage.reports import COLUMNS, UNCERTAIN, WAYS, Usage, budgets, usage
from store.usage.rollups import usd_text

FIGURES = (
    *("calls", "refused", "failed", "input_tokens", "output_tokens", "usd", *UNCERTAIN),
    *("cache_hits", "saved_usd", "assumed_usd"),
)
"""Shown in a table; --json and --csv have all."""
BUDGETS = (
    *("project_name", "token_name", "token_prefix", "name", "limit", "allowed", "used", "held", "left"),
    *("percent", "reached", "assumed", "resets_at"),
)
DROPPABLE_BUDGETS = (
    *("assumed", "reached", "held", "resets_at", "percent", "token_prefix", "name", "allowed", "token_name"),
)
"""Columns of budgets that a narrow terminal has no room for, the least important first."""
DROPPABLE = (
    *("cache_hits", "saved_usd", "token_metadata", "project", "token", "failed", "refused", "assumed_usd"),
    *("output_tokens", "input_tokens", "before_calls", "token_prefix", "approximate", "calls"),
    *("unreported", "lower_bound", "unpriced", "user", "token_name", "project_name"),
)
"""It is the same of usage."""
SESSION = "session"
WITHOUT_SESSIONS = ("since", "until", "period", "top", "sort", "compare", "html")
"""Options that sums of whole sessions don't have."""
BEFORE = ["before_calls", "before_usd"]
MOST_GROUPS = 1000
NANO = {
    "before_usd": "before_nano_usd",
    "usd": "nano_usd",
    "saved_usd": "saved_nano_usd",
    "assumed_usd": "assumed_nano_usd",
}
"""It says where the same stands in a form that can be added."""
SUMMED = [name for name in (*FIGURES, *BEFORE, *NANO.values()) if name not in NANO]
NAMED = {"project": ("project_name",), "token": ("token_name", "token_prefix", "token_metadata")}


@click.group()
def report() -> None:
    """What was used, by whom, and what is left of the budgets. Kept in the store, not in the spool."""


report.add_command(focus)


class Way(click.ParamType[str]):
    """Says by what usage is told apart."""

    name = "way"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's
        return f"[{'|'.join(WAYS)}|{SESSION}|{LABEL}NAME]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in (*WAYS, SESSION) and not (value.startswith(LABEL) and value != LABEL):
            self.fail(f"{value!r}: use {', '.join(WAYS)}, {SESSION}, or {LABEL}NAME.", param, ctx)
        return str(value)


class Zone(click.ParamType[tzinfo]):
    """Reads a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        if isinstance(value, tzinfo):
            return value
        try:
            return moments.time_zone(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


@report.command(name="usage")
@click.option(
    "--by",
    type=Way(),
    multiple=True,
    default=("project",),
    show_default=True,
    help="A row for each; may be repeated: --by day --by model.",
)
@click.option("--since", type=Moment(), help="From then on (12h, 30d ago, or a time), in whole hours.")
@click.option("--until", type=Moment(), help="Before then, in whole hours.")
@click.option("--period", type=click.Choice(list(PERIODS)), help="In place of --since and --until.")
@click.option(
    "--tz", "zone", type=Zone(), default="UTC", show_default=True, help="Whose days: Europe/Berlin."
)
@click.option("--project", metavar="ID_OR_NAME", help="Only calls of this project.")
@click.option("--token", metavar="ID_OR_NAME", help="Only calls with this token.")
@click.option(
    "--top", type=click.IntRange(1, 1000), help="Tell this many groups apart, and all others as one."
)
@click.option("--sort", type=click.Choice(FIGURES), help="By this figure, the largest first.")
@click.option("--compare", is_flag=True, help="Tell the time before, as long, in columns called before_...")
@click.option(
    "--html", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a page with a plot."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def usage_(
    *,
    project: str | None,
    token: str | None,
    as_csv: bool,
    as_json: bool,
    places: Places,
    **asked: Any,
) -> None:
    """Calls, tokens and dollars.

    A call counts in the hour in which it began, once it is over. `unpriced` calls have a usage without a
    known price, so the dollars are a lower bound; of `unreported` calls the API did not tell the usage, which
    is counted or estimated instead, where it can be. `lower_bound` calls have used or cost at least what is
    shown, `approximate` ones about as much. What is refused costs nothing. `assumed_usd` is what the
    budgets were charged with beyond these dollars, as it is not known what calls that were cut off have used
    (`llmproxy budget settle`). --by session has whole sessions of agents, as `llmproxy sessions list`.
    """
    _one_form(as_csv, as_json)
    if SESSION in asked["by"]:
        if set(asked["by"]) != {SESSION} or any(asked[name] for name in WITHOUT_SESSIONS):
            raise click.UsageError(
                "--by session stands alone: no --since, --until, --period, --top, --sort, --compare, --html."
            )
        _by_session(project, token, as_csv=as_csv, as_json=as_json, places=places)
        return
    since, until = between(**{name: asked[name] for name in ("since", "until", "period", "zone")})
    with open_store(places) as store:
        question = Usage(
            tuple(dict.fromkeys(asked["by"])),
            since,
            until,
            store.get_project(store.project_id(project)).id if project else None,
            store.get_token(store.token_id(token)).id if token else None,
            asked["zone"],
        )
    columns = [*(column for way in question.by for column in (way, *NAMED.get(way, ()))), *FIGURES]
    tell_what_is_left_out(places)
    with connected(places) as connection:
        rows: Iterable[Row]
        if any(asked[name] for name in ("top", "compare", "html")) or _has_label(question):
            rows = _largest(connection, question, columns, asked)
            columns = [column for column in (*columns, *BEFORE) if not rows or column in rows[0]]
        else:
            rows = usage(connection, question)
        if asked["sort"]:
            rows = sorted(rows, key=lambda row: -Decimal(row[asked["sort"]] or 0))
        if as_csv:
            write_csv(sys.stdout, rows)
        elif not asked["html"]:
            show_all(
                rows if as_json else _with_total(rows, columns),
                columns,
                as_json=as_json,
                nothing="There are no calls.",
                droppable=DROPPABLE,
            )


def _largest(
    connection: Connection, question: Usage, columns: Sequence[str], asked: Mapping[str, Any]
) -> list[Row]:
    """Return the groups that cost most, with what was before where it is asked for; write a page of them."""
    groups = Question(question, asked["top"] or MOST_GROUPS, asked["compare"])
    answer = break_down(connection, groups, datetime.now(UTC))
    if asked["html"]:
        write_page(asked["html"], answer, columns, "What was used")
    return [_with_before(row) for row in answer["data"]]


def _by_session(
    project: str | None, token: str | None, *, as_csv: bool, as_json: bool, places: Places
) -> None:
    """Print the sums of agents' sessions, each from its first call on, the one that was used last first."""
    with open_store(places) as store:
        project_id = store.get_project(store.project_id(project)).id if project else None
        token_id = store.get_token(store.token_id(token)).id if token else None
    with connected(places) as connection:
        rows = map(summed.as_dict, summed.newest(connection, summed.Wanted(project_id, token_id)))
        if as_csv:
            write_csv(sys.stdout, rows)
        else:
            show_all(
                rows, LISTED, as_json=as_json, nothing="There are no sessions.", droppable=DROPPABLE_SESSIONS
            )


def _has_label(asked: Usage) -> bool:
    return any(way.startswith(LABEL) for way in asked.by)


def _with_before(row: Row) -> dict[str, Any]:
    """Give what was before in columns of its own, and of all other groups together that they are that."""
    shown = {name: value for name, value in row.items() if name not in ("before", "rest")}
    if row["rest"]:
        shown |= {next(iter(shown)): "(others)"} if not _named(row) else {_named(row)[0]: "(others)"}
    return shown | {f"before_{name}": value for name, value in (row.get("before") or {}).items()}


def _named(row: Row) -> list[str]:
    """List what is no time and tells rows apart."""
    return [name for name in row if name in COLUMNS or name.startswith(LABEL)]


@report.command(name="budgets")
@click.option("--project", metavar="ID_OR_NAME", help="Only those of this project and of its tokens.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def budgets_(*, project: str | None, as_csv: bool, as_json: bool, places: Places) -> None:
    """What is left of the budgets of projects and tokens, of users and addresses, the fullest first.

    `used` is what was spent in the present period (UTC), `assumed` what of that was charged without its being
    known (`llmproxy budget settle` puts it right), `held` what calls under way may come to, `left` the
    rest; top-ups are in `allowed`. `reached` is the last of the marks 50, 80 and 100 %, each of which is told
    once in a period by an event (llm_proxy_budget). 100 is also reached when a call was refused because too
    little was left for it. More than 10,000 budgets come in the order of their ids instead.
    """
    _one_form(as_csv, as_json)
    with open_store(places) as store:
        project_id = store.get_project(store.project_id(project)).id if project else None
    tell_what_is_left_out(places)
    with connected(places) as connection:
        rows = budgets(connection, time.time(), project_id=project_id)
        if as_csv:
            write_csv(sys.stdout, rows)
        else:
            show_all(
                rows,
                BUDGETS,
                as_json=as_json,
                nothing="There are no budgets.",
                droppable=DROPPABLE_BUDGETS,
            )


def _one_form(as_csv: bool, as_json: bool) -> None:
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two forms; choose one.")


def _with_total(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[Row]:
    """Give the rows of a table, and behind them a last one with their sums."""
    total: dict[str, Any] = dict.fromkeys(columns, "")
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update(
            {name: row.get(name, 0) for name in (*FIGURES, *BEFORE, *NANO.values()) if name not in NANO}
        )
        yield row
    if sums:
        dollars = {name: usd_text(sums[nano]) for name, nano in NANO.items()}
        summed = {name: value for name, value in (sums | dollars).items() if name in columns}
        ids = ("project", "token")  # of which a narrow terminal shows the names alone
        yield total | summed | {next(name for name in columns if name not in ids): "total"}
