"""``llmproxy dispatch``: send what is in the spool to a backend."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from dispatch.delivery import GaveUp, Totals
from dispatch.errors import DeliveryError
from dispatch.service import POLL_SECONDS, Dispatcher
from dispatch.sinks import Sink
from scripts.options import Places, places
from scripts.progress import ProgressLine
from store.spool import SpoolReader

logger = logging.getLogger(__name__)

SERVICES = ("cloudwatch", "file")

EPILOG = """Every option can be given in the environment; the option goes first. For the region AWS_REGION,
AWS_DEFAULT_REGION and the AWS configuration follow.

\b
Guarantee: at least once. An event that the proxy reported as written is sent until the
backend has taken it; after a crash at most one batch is sent again (its events keep their
event_id). What the backend refuses for good goes to SPOOL/dead/CONSUMER.jsonl with the reason.

Exit codes: 0 drained, or stopped as asked; 1 the backend did not take an event (it stays in the spool); 2
wrong usage."""


@click.command(epilog=EPILOG)
@click.option(
    "--service", type=click.Choice(SERVICES), required=True, envvar="DISPATCHER_SERVICE", show_envvar=True
)
@click.option(
    "--once", "follow", flag_value=False, type=bool, default=False, help="Drain, then end (default)."
)
@click.option("--follow", "follow", flag_value=True, type=bool, help="Go on as events come, until stopped.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    envvar="DISPATCHER_BATCH_SIZE",
    show_envvar=True,
    help="Most events between two moves of the cursor.",
)
@click.option(
    "--include-content",
    is_flag=True,
    envvar="DISPATCHER_INCLUDE_CONTENT",
    show_envvar=True,
    help="Send prompts, answers, headers and error texts too.",
)
@click.option(
    "--consumer",
    envvar="DISPATCHER_CONSUMER",
    show_envvar=True,
    help="Name of the cursor; each consumer gets every event.  [default: the service]",
)
@click.option("--log-group", envvar="DISPATCHER_CLOUDWATCH_LOG_GROUP", show_envvar=True, help="cloudwatch.")
@click.option(
    "--log-stream",
    envvar="DISPATCHER_CLOUDWATCH_LOG_STREAM",
    show_envvar=True,
    help="cloudwatch.  [default: llmproxy-HOSTNAME]",
)
@click.option("--region", envvar="DISPATCHER_CLOUDWATCH_REGION", show_envvar=True, help="cloudwatch.")
@click.option(
    "--endpoint-url",
    envvar="DISPATCHER_CLOUDWATCH_ENDPOINT_URL",
    show_envvar=True,
    help="cloudwatch: another endpoint, such as a local moto server.",
)
@click.option(
    "--output",
    type=Path,
    envvar="DISPATCHER_FILE_OUTPUT",
    show_envvar=True,
    help="file: where lines are appended.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the totals as JSON at the end.")
@places
def dispatch(
    *,
    service: str,
    follow: bool,
    batch_size: int,
    consumer: str | None,
    as_json: bool,
    places: Places,
    **settings: Any,
) -> None:
    """Send the events of the spool to CloudWatch Logs, or to a file."""
    line = ProgressLine()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[line.log_handler()])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        sink = _sink(service, settings)
        stack.callback(sink.close)
        if follow and not _wait_for_folder(places.spool, stop):
            return
        reader = stack.enter_context(SpoolReader(places.spool, consumer or service))
        dispatcher = Dispatcher(
            reader, sink, batch_size=batch_size, follow=follow, stop=stop, on_progress=line.update
        )
        stack.enter_context(line)
        failure = None
        try:
            dispatcher.run()
        except GaveUp as error:
            failure = str(error)
    _sum_up(dispatcher.totals, as_json=as_json)
    if failure:
        raise click.ClickException(f"{failure} (what was not sent stays in the spool)")


def _wait_for_folder(folder: Path, stop: threading.Event) -> bool:
    """A dispatcher may be started before the proxy, which makes the folder. False when told to stop."""
    if not folder.is_dir():
        logger.warning("there is no spool at %s yet; waiting for the proxy to make it", folder)
    while not folder.is_dir():
        if stop.wait(POLL_SECONDS):
            return False
    return True


def _sink(service: str, settings: dict[str, Any]) -> Sink:
    """The sink that the options describe; its module is imported only when it is used."""
    try:
        if service == "file":
            from dispatch.sinks.file import FileSink  # noqa: PLC0415

            if settings["output"] is None:
                raise click.UsageError("--service file needs --output (or DISPATCHER_FILE_OUTPUT).")
            return FileSink(settings["output"].expanduser(), include_content=settings["include_content"])
        from dispatch.sinks.cloudwatch import CloudWatchSink, default_stream  # noqa: PLC0415

        if not settings["log_group"]:
            raise click.UsageError(
                "--service cloudwatch needs --log-group (or DISPATCHER_CLOUDWATCH_LOG_GROUP)."
            )
        return CloudWatchSink(
            settings["log_group"],
            settings["log_stream"] or default_stream(),
            # botocore itself looks at AWS_DEFAULT_REGION only.
            region=settings["region"] or os.environ.get("AWS_REGION") or None,
            endpoint_url=settings["endpoint_url"],
            include_content=settings["include_content"],
        )
    except DeliveryError as error:
        raise click.UsageError(str(error)) from error


def _sum_up(totals: Totals, *, as_json: bool) -> None:
    if as_json:
        shown = {
            "sent": totals.sent,
            "dead": totals.dead,
            "batches": totals.batches,
            "requests": totals.requests,
            "retries": totals.retries,
            "seconds": round(totals.seconds, 3),
        }
        click.echo(json.dumps(shown))
        return
    click.echo(
        f"Sent {totals.sent} events in {totals.requests} requests ({totals.retries} of them in vain), "
        f"put {totals.dead} aside, in {totals.seconds:.1f} s.",
        err=True,
    )
