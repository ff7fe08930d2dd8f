"""Run ``llmproxy spool``: look at the events on their way, check them, and send them again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from scripts.options import Places, open_store, places
from scripts.output import show_all
from store.core import times
from store.core.errors import Invalid, SpoolError
from store.core.event import USAGE_TYPE, Cost, Usage, UsageEvent, User
from store.core.event_fields import read_record
from store.core.printable import printable, printable_json
from store.spool import cursor, replay
from store.spool.repair import repair as repair_spool
from store.spool.survey import status as status_of
from store.spool.survey import verify as verify_spool
from store.spool.tail import Tail

COLOURS = {"ok": "green", "refused": "yellow", "client_aborted": "yellow", "shutdown": "yellow"}
"""All other outcomes are red."""
POLL_SECONDS = 0.25


class Moment(click.ParamType[datetime]):
    """Reads a time ago (``30m``, ``2h``, ``1d``), a date, or a time (RFC 3339)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return times.past(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def spool() -> None:
    """Look at the events on their way, check them, and send them again."""


def _existing(places: Places) -> None:
    if not places.spool.is_dir():
        raise SpoolError(f"there is no spool at {places.spool}; start the proxy, or name the right folder.")


@spool.command()
@as_json_option
@places
def status(as_json: bool, places: Places) -> None:
    """Sizes, backlog and lag of each consumer, dead letters by reason."""
    _existing(places)
    found = status_of(places.spool)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{found['spool']}: {found['bytes']:,} bytes in {found['segments']} segments of {found['writers']} "
        f"writers ({found['writers_alive']} alive); {found['calls_under_way']} calls under way."
    )
    if found["writers_not_counted"]:
        click.echo(
            f"The last calls of {found['writers_not_counted']} writers are not counted in the store yet; "
            "a running proxy does that, and their segments are kept until then."
        )
    rows = [
        {
            "consumer": each["consumer"],
            "at_work": "no" if each["at_work"] is None else f"pid {each['at_work']}",
            "backlog": f"{each['backlog_bytes']:,} bytes",
            "oldest": each["oldest"],
            "lag": f"{each['lag_seconds']:,.1f} s",
            "dead_letters": sum(each["dead"].values()),
        }
        for each in found["consumers"]
    ]
    columns = ("consumer", "at_work", "backlog", "oldest", "lag", "dead_letters")
    show_all(rows, columns, as_json=False, nothing="No consumer has read it yet.", droppable=("oldest",))
    for each in found["consumers"]:
        for reason, count in each["dead"].items():
            click.echo(printable(f"{each['consumer']}: {count} dead: {reason}"))


@spool.command()
@as_json_option
@places
def verify(as_json: bool, places: Places) -> None:
    """Look at every line: torn or damaged ones, numbers that are missing or there twice.

    Exit code 1 where something is wrong. Segments that every consumer is past are gone, so the first numbers
    of a writer may be; the proof over the whole way is `llmproxy prove`.
    """
    _existing(places)
    found = verify_spool(places.spool)
    wrong = [
        *(f"{each['segment']}, byte {each['offset']}: {each['damage']}" for each in found["damaged"]),
        *(f"writer {writer}: missing {', '.join(gaps)}" for writer, gaps in found["gaps"].items()),
        *(f"writer {writer}: twice {', '.join(twice)}" for writer, twice in found["duplicates"].items()),
        *(f"cursor of {name}: {damage}" for name, damage in found["cursors"].items()),
    ]
    if as_json:
        click.echo(json.dumps({"ok": not wrong, **found}))
    else:
        for line in wrong:
            click.echo(printable(line))
        click.echo(
            f"{found['events']} events of {found['writers']} writers in {found['segments']} segments: "
            f"{f'{len(wrong)} things are wrong' if wrong else 'all is sound'}."
        )
    click.get_current_context().exit(1 if wrong else 0)


@spool.command()
@as_json_option
@places
def repair(as_json: bool, places: Places) -> None:
    """Set damaged lines and cursors aside, into SPOOL/damaged; nothing is thrown away.

    Safe while proxies and dispatchers are at work: what somebody holds is left alone.
    """
    _existing(places)
    done = repair_spool(places.spool)
    if as_json:
        click.echo(json.dumps(done))
    else:
        cursors = f" and the cursors of {', '.join(done['cursors'])}" if done["cursors"] else ""
        click.echo(f"{done['lines']} damaged lines ({done['bytes']} bytes){cursors} are set aside.")


@spool.command(name="replay")
@click.option("--sink", "consumer", required=True, help="Consumer that is to send them again.")
@click.option("--since", type=Moment(), help="From then on (30m, 2h, 1d ago, or a time).")
@click.option("--until", type=Moment(), help="Before then.")
@click.option(
    "--dead", "dead_letters", is_flag=True, help="Its dead letters instead of what is in the spool."
)
@click.option("--reason", help="With --dead: only letters whose reason has this in it.")
@as_json_option
@places
def replay_(
    *,
    consumer: str,
    since: datetime | None,
    until: datetime | None,
    dead_letters: bool,
    reason: str | None,
    as_json: bool,
    places: Places,
) -> None:
    """Have a consumer send events again: a range of time, or its dead letters.

    The consumer's dispatcher finds them at once if it is at work, else when it is started. They keep their
    event_id. A range holds only what is still in the spool: segments go once every consumer is past them.
    Exit code 1 where nothing was found.
    """
    _existing(places)
    if not dead_letters and since is None and until is None:
        raise click.UsageError("say which: --since, --until, or --dead.")
    if reason is not None and not dead_letters:
        raise click.UsageError("--reason goes with --dead.")
    if consumer not in {*cursor.names(places.spool)}:
        known = ", ".join(cursor.names(places.spool)) or "none"
        raise SpoolError(f"there is no consumer {consumer!r} on {places.spool}; there are: {known}.")
    wanted = replay.Range(since, until)
    count = (
        replay.replay_dead(places.spool, consumer, wanted, reason)
        if dead_letters
        else replay.replay_range(places.spool, consumer, wanted)
    )
    if as_json:
        click.echo(json.dumps({"consumer": consumer, "replayed": count}))
    else:
        click.echo(f"{count} records will be sent to {consumer} again.")
    click.get_current_context().exit(0 if count else 1)


@spool.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Events from before to begin with.",
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on as events come.")
@click.option("--project", metavar="ID_OR_NAME", help="Only calls of this project.")
@click.option("--token", metavar="ID_OR_NAME", help="Only calls with this token; a name needs the store.")
@click.option("--model", help="Part of its name.")
@click.option("--outcome", help="ok, refused, http_error, ...")
@as_json_option
@places
def tail(*, lines: int, follow: bool, as_json: bool, places: Places, **wanted: str | None) -> None:
    """Show events as they are written, in colours on a terminal. Ctrl-C ends it."""
    _existing(places)
    fits = _filter(_known(places, wanted))
    console = Console(highlight=False, soft_wrap=True)
    tail = Tail(places.spool)
    for event in tail.last(lines, fits):
        _print(console, event, as_json)
    try:
        while follow:
            time.sleep(POLL_SECONDS)
            for record in tail.look():
                if fits(record):
                    _print(console, record, as_json)
    except KeyboardInterrupt:
        return


def _known(places: Places, wanted: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Put ids in the place of names of projects and tokens, where there is a store that knows them."""
    project, token = wanted["project"], wanted["token"]
    if not (project or token) or not places.store.exists():
        return wanted
    with open_store(places) as store:
        return {
            **wanted,
            "project": project and store.project_id(project),
            "token": token and store.token_id(token),
        }


def _filter(wanted: Mapping[str, str | None]) -> Callable[[Mapping[str, Any]], bool]:
    def fits(record: Mapping[str, Any]) -> bool:
        project, token, model, outcome = (wanted[name] for name in ("project", "token", "model", "outcome"))
        if record.get("type") != USAGE_TYPE:
            return False
        event = read_record(record, UsageEvent)
        return (
            (project is None or project in (event.project_id, event.project_name))
            and (token is None or token == event.token_id)
            and (model is None or model in (event.model or ""))
            and (outcome is None or outcome == event.outcome)
        )

    return fits


def _print(console: Console, record: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(printable_json(record))
        return
    event = read_record(record, UsageEvent)
    usage, cost, user = event.usage or Usage(), event.cost or Cost(), event.user or User()
    outcome = event.outcome or "-"
    console.print(
        Text.assemble(
            (f"{printable(event.timestamp)[11:23]} ", "dim"),
            (f"{printable(outcome):<16}", COLOURS.get(outcome, "red")),
            f"{event.status or '-':>3} ",
            (f"{printable(event.model or event.endpoint or '-')} ", "cyan"),
            f"{_shown(usage.input_tokens)} > {_shown(usage.output_tokens)} tokens "
            f"${_shown(cost.usd)} {_shown(event.duration_ms)} ms ",
            (printable(f"{event.project_name or '-'} {user.id or ''}"), "dim"),
        )
    )


def _shown(value: Any) -> str:
    return "?" if value is None else printable(value)
