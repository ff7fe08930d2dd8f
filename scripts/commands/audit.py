"""Run ``llmproxy audit``: show who changed what, and whose calls were refused."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click

from scripts.commands.spool import Moment
from scripts.options import Places, open_store, places
from scripts.output import show, show_all
from store.audit.chain import Verdict, Verifier
from store.audit.log import AuditLog, Wanted
from store.audit.record import Head, Record, canonical, of_export
from store.core.event import AUDIT_TYPE
from store.core.printable import printable
from store.tokens import naming

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
COLUMNS = (
    "seq",
    "at",
    "action",
    "outcome",
    "actor",
    "address",
    "project",
    "object",
    "reason",
    "count",
    "change",
)


class Heads(click.ParamType[list[Head]]):
    """Reads ``SEQ:HASH``, a file with such lines, events, or an export."""

    name = "seq:hash|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Head]:
        if isinstance(value, list):
            return value
        try:
            if not Path(value).is_file():
                return [Head.parse(value)]
            found = [head for line in Path(value).read_text().splitlines() for head in _heads(line)]
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            self.fail(f"{error}.", param, ctx)
        if not found:
            self.fail(
                f"there is no head in {value}: a line of it is SEQ:HASH, or an event of type {AUDIT_TYPE}.",
                param,
                ctx,
            )
        return found


@click.group()
def audit() -> None:
    """Every change of the store and every refused authentication, in a chain of hashes.

    \b
    llmproxy audit list --action token --since 7d
    llmproxy audit verify --json | jq -r .head >> /elsewhere/heads
    llmproxy audit verify --head /elsewhere/heads

    Each row holds the hash of the one before, so that a row that was changed, moved or taken out is found and
    named. Whoever may write to the store could make the whole chain anew: note its head elsewhere now and
    then, and compare.
    """


@audit.command(name="list")
@click.option("--action", metavar="NAME", help="token.revoke ...; `token` takes all that begins so.")
@click.option("--outcome", type=click.Choice(["success", "failure", "refused"]), help="How it went.")
@click.option("--actor", metavar="TEXT", help="Part of who did it.")
@click.option("--project", metavar="ID_OR_NAME", help="About this project or its tokens.")
@click.option("--token", metavar="ID_OR_NAME", help="About this token.")
@click.option("--reason", metavar="NAME", help="Of refusals: missing, unknown, revoked, expired ...")
@click.option("--address", metavar="IP", help="From this address.")
@click.option("--since", type=Moment(), help="From then on (30m, 2h, 1d ago, or a time).")
@click.option("--until", type=Moment(), help="Before then.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most rows.")
@JSON
@places
def list_(
    *,
    project: str | None,
    token: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
    places: Places,
    **equal: Any,
) -> None:
    """List rows, newest first."""
    with open_store(places) as store:
        wanted = Wanted(
            project_id=store.get_project(store.project_id(project)).id if project else None,
            token_id=store.token_id(token) if token else None,
            since=int(since.timestamp()) if since else None,
            until=int(until.timestamp()) if until else None,
            **equal,
        )
        records = store.audit.find(wanted, limit=limit)
        called = {} if as_json else naming.names(store.connection, [one.shown() for one in records])
    show_all(
        [record.shown() if as_json else _line(record, called) for record in records],
        COLUMNS,
        as_json=as_json,
        nothing="There are no such rows.",
        droppable=("change", "address", "count", "project", "reason", "actor", "object"),
    )


@audit.command()
@click.option("--file", type=click.File(), help="An export ('-': standard input), in place of the store.")
@click.option(
    "--head",
    "heads",
    type=Heads(),
    multiple=True,
    help="A head that was noted earlier, or a file of them; may be repeated.",
)
@click.pass_context
@JSON
@places
def verify(
    ctx: click.Context, *, file: IO[str] | None, heads: tuple[list[Head], ...], as_json: bool, places: Places
) -> None:
    """Look at every row, and name those that were changed, moved, taken out or put in.

    Prints the head, for you to note elsewhere. Ends with 1 where anything is wrong.
    """
    noted = [head for some in heads for head in some]
    if file is not None:
        verdict = _verify_file(file, noted)
    else:
        with open_store(places) as store:
            verdict = store.audit.verify(noted)
    _tell(verdict, as_json=as_json)
    if not verdict.whole:
        ctx.exit(1)


@audit.command()
@click.argument("file", metavar="[FILE]", default="-")
@click.option("--after", type=click.IntRange(0), default=0, help="Only rows with a higher number.")
@places
def export(*, file: str, after: int, places: Places) -> None:
    """Write all rows with their hashes as JSON Lines, for `audit verify --file`; standard output by default.

    The last line is the head, so that a file that was cut is told. FILE must not exist yet.
    """
    with open_store(places) as store, _output(file) as out:
        head = store.audit.head()
        for record in store.audit.records(after=after):
            if record.seq > head.seq:
                break
            print(canonical(record.as_dict()), file=out)
        print(canonical({"head": {"seq": head.seq, "hash": head.hash}}), file=out)


@audit.command()
@click.option("--before", type=Moment(), required=True, help="What is older goes (90d ago, or a time).")
@JSON
@places
def prune(*, before: datetime, as_json: bool, places: Places) -> None:
    """Take the oldest rows out; export them first. The rest stays a chain that can be verified.

    A row says up to where the log was pruned, and with which hash the rows that are gone ended. A log that is
    not whole is left as it is.
    """
    with open_store(places) as store:
        done = prune_whole(store.audit, int(before.timestamp()))
    show(done, as_json=as_json)


def prune_whole(log: AuditLog, before: int) -> dict[str, Any]:
    """Prune a log that is whole; what is wrong with another must stay to be seen."""
    if (verdict := log.verify()).faults:
        raise click.ClickException(f"the log is not whole, so it is left as it is: {verdict.faults[0]}.")
    done = log.prune(before)
    return dict(done.after or {}) if done else {"through": None, "hash": None, "rows": 0}


def _verify_file(file: IO[str], noted: list[Head]) -> Verdict:
    """Verify a file. Raises ClickException for a line that is no row."""
    verifier, head = Verifier(noted), None
    for number, line in enumerate(file, 1):
        if head is not None:
            raise click.ClickException(f"{file.name}: line {number}: there is something behind the head.")
        try:
            value = json.loads(line)
            if isinstance(value, dict) and value.keys() == {"head"}:
                head = Head(**value["head"])
            else:
                verifier.see(of_export(value))
        except (ValueError, TypeError, RecursionError) as error:
            raise click.ClickException(
                f"{file.name}: line {number}: this is no row of an audit log."
            ) from error
    return verifier.end(head, partial=True)


def _heads(line: str) -> list[Head]:
    """Give the one in a line of notes, of events or of an export; none in other lines. Raises ValueError."""
    if not line.startswith("{"):
        return [Head.parse(line)] if line.strip() else []
    value = json.loads(line)
    if value.get("type") == AUDIT_TYPE:
        return [Head.parse(value["head"])]
    return [Head.parse("{seq}:{hash}".format(**value["head"]))] if value.keys() == {"head"} else []


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    facts = {
        "whole": verdict.whole,
        "rows": verdict.rows,
        "first": verdict.begins.seq + 1 if verdict.rows else None,
        "head": str(verdict.head),
        "compared": verdict.compared,
        "beyond": [str(head) for head in verdict.beyond],
    }
    if as_json:
        faults = [fault.as_dict() for fault in verdict.faults]
        show(facts | {"faults": faults, "more": verdict.more}, as_json=True)
        return
    show(facts | {"beyond": " ".join(facts["beyond"]) or None}, as_json=False)  # type: ignore[arg-type]
    for fault in verdict.faults:
        click.echo(printable(fault), err=True)
    if verdict.more:
        click.echo(f"and {verdict.more} more.", err=True)


def _line(record: Record, called: Mapping[str, str]) -> dict[str, Any]:
    """Give a row for the table, in which projects and tokens are called by their names."""
    project, token = record.project_id, record.token_id
    return record.shown() | {
        "project": project and called.get(project, project),
        "object": (object_ := token or project) and called.get(object_, object_),
        "change": _change(record),
    }


def _change(record: Record) -> str | None:
    """Write what became of each field: ``active=true→false``."""
    before, after = record.as_dict()["before"], record.as_dict()["after"]
    if not isinstance(after, dict):
        return None
    were = before if isinstance(before, dict) else {}
    parts = (
        f"{name}={_text(were[name]) + '→' if name in were else ''}{_text(value)}"
        for name, value in after.items()
    )
    return " ".join(parts) or None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _output(name: str) -> Iterator[IO[str]]:
    """Give a new file (0600: it tells of people), on disk at the end; or standard output."""
    if name == "-":
        yield sys.stdout
        return
    descriptor = os.open(Path(name).expanduser(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())
