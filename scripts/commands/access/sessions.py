"""Run ``llmproxy sessions`` and ``llmproxy session``: show what they cost, and let one go on."""

from __future__ import annotations

import time
from contextlib import closing

import click

from scripts.commands.access.limit_options import TOPUP, show_use
from scripts.options import Places, open_store, places
from scripts.output import show, show_all
from store.database.engines import engine_of
from store.ledger import sessions as summed
from store.ledger.use import shown
from store.spool.session_calls import MOST, calls_of
from store.tokens.amounts import Budget
from store.usage import recent_calls

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
SESSION = click.argument("session", metavar="ID")
LISTED = (
    *("session", "project_name", "token_name", "token", "first_at", "last_at"),
    *("calls", "refused", "tokens", "usd"),
)
DROPPABLE = ("first_at", "token", "refused", "tokens", "last_at", "token_name")
"""Columns of LISTED that a narrow terminal has no room for, the least important first."""
CALLS = ("timestamp", "thread", "source", "endpoint", "model", "outcome", "retry", "total_tokens", "usd")
THREADS = ("thread", "source", "calls", "usd")
USE = ("limit", "allowed", "used", "held", "left")


@click.group()
def sessions() -> None:
    """Sessions of coding agents: what each one cost, and its calls in order."""


@click.group()
def session() -> None:
    """Let an agent's session go on beyond its budget."""


@sessions.command(name="list")
@click.option("--project", metavar="ID_OR_NAME", help="Only those of this project.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many."
)
@JSON
@places
def list_(*, project: str | None, limit: int, as_json: bool, places: Places) -> None:
    """List the sessions that were used last, newest first, with what their calls cost.

    The figures are in the store, and are kept for 31 days after a session's last call.
    """
    with open_store(places) as store:
        project_id = store.get_project(store.project_id(project)).id if project else None
    with closing(engine_of(places.store).connect()) as connection:
        wanted = summed.Wanted(project_id)
        rows = [summed.as_dict(row) for row in summed.newest(connection, wanted, limit)]
    show_all(
        rows,
        LISTED,
        as_json=as_json,
        nothing="There are no sessions.",
        droppable=DROPPABLE,
    )


@sessions.command(name="show")
@SESSION
@JSON
@places
def show_(*, session: str, as_json: bool, places: Places) -> None:
    """Show a session's calls in order, its threads, what it cost and how often it repeated itself.

    ID is its name or the beginning of it, or TOKEN/NAME where several tokens have one of that name. Calls
    are read from the spool, as far back as that reaches (64 MiB), and from the store, which keeps the latest
    of all proxies without their content. `repeated` are calls whose answer, its texts and tool calls, the
    session had got before; it is not known where the spool has no content. `retries` are those that the SDK
    says it made again.
    """
    with open_store(places) as store, closing(engine_of(places.store).connect()) as connection:
        token_id, name = summed.find(connection, session)
        use = shown(store.session_use(store.get_token(token_id), name), time.time())
        kept = recent_calls.of_session(connection, token_id, name, MOST) if name else ()
        found = calls_of(places.spool, token_id, name, kept).as_dict()
    threads, calls = found.pop("threads"), found.pop("calls")
    about = {"session": name, "token": token_id, **found}
    if as_json:
        show({**about, "threads": threads, "use": use, "calls": calls}, as_json=True)
        return
    show(about, as_json=False)
    tables = ((threads, THREADS), (use, USE), (calls, CALLS))
    for rows, columns in tables:
        if rows:
            click.echo()
            show_all(
                rows,
                columns,
                as_json=False,
                nothing="",
                droppable=("endpoint", "retry", "source", "timestamp", "outcome", "thread"),
            )


@session.command()
@SESSION
@TOPUP
@JSON
@places
def topup(*, session: str, amount: Budget, as_json: bool, places: Places) -> None:
    """Add to the budget of an agent's session, which goes on with its next call: 5usd, 100000tokens.

    ID is what the refusal names: TOKEN/NAME, or the name alone where one token has such a session; the id of
    a token stands for its calls that name no session. It is in the audit log.
    """
    with open_store(places) as store:
        rows = shown(store.top_up_session(session, amount), time.time())
    show_use(rows, USE, as_json=as_json)
