"""Run ``llmproxy prove``: is every accepted call recorded, and every record delivered?"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from dispatch.errors import DeliveryError
from dispatch.proof import prove
from dispatch.sinks import Readable
from scripts.commands.dispatch_options import DispatchCommand, jobs, read_file, services
from scripts.commands.spool import Moment, _existing
from scripts.options import Places, places

NOTHING_SENT = {"include_content": False, "include_client": False, "redact": (), "batch_size": 1000}
"""It is what `llmproxy dispatch` is told about that which it sends."""
SHOWN = ("accepted", "last_seq", "in_spool", "delivered", "waiting", "dead")


@click.command(name="prove", cls=DispatchCommand)
@click.option(
    "--config", type=Path, is_eager=True, callback=read_file, envvar="DISPATCHER_CONFIG", hidden=True
)
@click.option("--since", type=Moment(), required=True, help="From then on (30m, 2h, 1d ago, or a time).")
@click.option(
    "--sink", "service", multiple=True, callback=services, metavar="SINK", help="Read this sink as well."
)
@click.option("--consumer", help="Name of its cursor.  [default: the sink]")
@click.option(
    "--slack",
    type=int,
    default=3600,
    show_default=True,
    help="Seconds that the sink is read further back: calls are numbered when they end, and stored by when "
    "they began.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@places
def prove_(*, since: datetime, slack: int, as_json: bool, places: Places, **settings: Any) -> None:
    """Compare calls accepted, events recorded and events delivered, writer by writer.

    Without --sink the spool alone is looked at. With it, the backend is read (CloudWatch by FilterLogEvents)
    and every number that is missing or there twice is named. A number may be missing in the backend because
    it waits in the spool or is among the dead letters: those are counted apart, and not missing.

    Exit codes: 0 nothing is missing (duplicates are allowed, and listed), 1 something is, or the sink can't
    be read.
    """
    _existing(places)
    ctx = click.get_current_context()
    command = ctx.command
    assert isinstance(command, DispatchCommand)
    found = jobs(command, NOTHING_SENT | settings)
    if len(found) > 1:
        raise click.UsageError("one --sink at a time.")
    if not found:
        _show(prove(places.spool, since), as_json)
        return
    (job,) = found
    try:
        assert isinstance(job.sink, Readable)  # in its guard
        before = timedelta(seconds=slack)
        delivered = job.sink.delivered(since - before)
        proof = prove(places.spool, since, slack=before, consumer=job.consumer, delivered=delivered)
        _show(proof, as_json)
    except DeliveryError as error:
        raise click.ClickException(str(error)) from error
    finally:
        job.sink.close()


def _show(proof: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(proof))
    else:
        for each in proof["writers"]:
            counts = ", ".join(f"{name} {each[name]}" for name in SHOWN if each[name] is not None)
            click.echo(f"{each['writer']}: {counts}{'' if each['closed'] else ' (not closed)'}")
            if each["missing"]:
                click.echo(f"  MISSING: {', '.join(each['missing'])}")
            if each["without_event"]:
                what = "WITHOUT AN EVENT" if each["closed"] else "under way"
                click.echo(f"  {what}: {each['without_event']} calls")
            if each["twice"]:
                click.echo(f"  twice: {', '.join(each['twice'])}")
        twice, missing = proof["duplicates"], proof["missing"]
        click.echo(
            f"{f'{missing} ARE MISSING' if missing else 'Nothing is missing'}; "
            f"{f'{twice} came more than once (remove by event_id)' if twice else 'nothing came twice'}."
        )
    click.get_current_context().exit(0 if proof["complete"] else 1)
