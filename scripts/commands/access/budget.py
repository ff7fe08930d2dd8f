"""Run ``llmproxy budget``: put right what budgets were charged with, by who knows better."""

from __future__ import annotations

from contextlib import closing

import click

from scripts.options import Places, open_store, places
from scripts.output import show_all
from store.audit.log import AuditLog
from store.audit.origin import of_process
from store.database.engines import engine_of
from store.ledger import assumed
from store.tokens import naming
from store.tokens.amounts import USD, amount_of
from store.usage.rollups import usd_text

COLUMNS = ("call", "outcome", "project", "token", "tokens", "usd", "was_tokens", "was_usd")


@click.group()
def budget() -> None:
    """Put right what budgets were charged with."""


@budget.command()
@click.argument("call", required=False)
@click.option("--died", is_flag=True, help="All calls that a proxy's death has cut off.")
@click.option("--project", metavar="ID_OR_NAME", help="With --died: only those of this project.")
@click.option("--tokens", type=click.IntRange(min=0), help="What the call did use, if you know it.")
@click.option("--usd", metavar="USD", help="What it did cost.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@places
def settle(
    *,
    call: str | None,
    died: bool,
    project: str | None,
    tokens: int | None,
    usd: str | None,
    as_json: bool,
    places: Places,
) -> None:
    """Charge calls of which the end is not known with what their events say.

    They were charged with what they held (`assumed` in `report budgets`): under strict budgets the most that
    they could have used. CALL is the event_id of one, or its beginning; --tokens and --usd say what it did
    use. Each change is in the audit log.
    """
    if (call is None) == (not died):
        raise click.UsageError("give CALL, or --died.")
    if died and (tokens is not None or usd is not None):
        raise click.UsageError("--tokens and --usd are for one CALL.")
    with open_store(places) as store, closing(engine_of(places.store).connect()) as connection:
        found = assumed.settle(
            connection,
            AuditLog(connection, of_process(places.actor)),
            call_id=None if call is None else assumed.call_meant(connection, call),
            project_id=store.get_project(store.project_id(project)).id if project else None,
            tokens=tokens,
            nano_usd=None if usd is None else amount_of(USD, usd),
        )
        called = naming.names(connection, [one.row() for one in found])
    rows = [
        {
            "call": one.call_id,
            "outcome": one.outcome,
            "project": called.get(one.project_id),
            "token": one.token_id,
            "tokens": one.known_tokens if tokens is None else tokens,
            "usd": usd_text(one.known_nano_usd) if usd is None else usd,
            "was_tokens": one.tokens,
            "was_usd": usd_text(one.nano_usd),
        }
        for one in found
    ]
    if not as_json:
        rows = [{**row, "token": called.get(str(row["token"]), row["token"])} for row in rows]
    show_all(
        rows,
        COLUMNS,
        as_json=as_json,
        nothing="Nothing is assumed.",
        droppable=("outcome", "token", "project"),
    )
