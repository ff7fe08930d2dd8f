"""Run ``llmproxy dispatch``: send what is in the spool to one or more backends."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from dispatch.alerting.sending import alert_of_test, send_at_once
from dispatch.catalog import ALERT_SINKS
from dispatch.delivery import Totals
from dispatch.errors import DeliveryError
from dispatch.metrics import served
from dispatch.service import Reader
from dispatch.state import StateReporter
from dispatch.supervisor import Job, Supervisor
from scripts.commands.dispatch_options import DispatchCommand, jobs, read_file, services
from scripts.options import Places, places
from scripts.progress import ProgressLine
from store.core.errors import StoreError
from store.core.event import AlertRecord, Cost, UsageEvent
from store.core.printable import clean_log_records
from store.core.systemd import Heartbeat
from store.spool import SpoolReader

logger = logging.getLogger(__name__)

EPILOG = """Each option is a flag, a variable, or a key of the --config file, in this order: --batch-size,
DISPATCHER_BATCH_SIZE, batch_size = 1000; --log-group, DISPATCHER_CLOUDWATCH_LOG_GROUP, log_group below
[cloudwatch]. Batch size, consumer, include-content and include-client may differ for each sink:
--file-batch-size and so on. Secrets are better in the environment or the file: other users of the machine
see flags.

\b
SIGTERM, SIGINT  send what is left, for --grace seconds at most, then end; twice: end now
SIGHUP           read the configuration again; what is wrong there changes nothing

\b
Guarantee: at least once. An event that the proxy reported as written is sent until the
backend has taken it; after a crash at most one batch is sent again (its events keep their
event_id). What the backend refuses for good goes to SPOOL/dead/CONSUMER.jsonl with the reason.

Exit codes: 0 drained, or stopped as asked; 1 a backend did not take an event (it stays in the spool), or
failed its --check; 2 wrong usage."""


@click.command(cls=DispatchCommand, epilog=EPILOG)
@click.option(
    "--config",
    type=Path,
    is_eager=True,
    callback=read_file,
    envvar="DISPATCHER_CONFIG",
    show_envvar=True,
    help="TOML file with settings.",
)
@click.option(
    "--service",
    metavar="SINK[,SINK]",
    multiple=True,
    required=True,
    callback=services,
    envvar="DISPATCHER_SERVICE",
    show_envvar=True,
    help="Where to; may be repeated. Each sink has its own cursor and holds up no other.",
)
@click.option(
    "--once", "follow", flag_value=False, type=bool, default=False, help="Drain, then end (default)."
)
@click.option("--follow", "follow", flag_value=True, type=bool, help="Go on as events come, until stopped.")
@click.option("--check", is_flag=True, help="Only prove that each sink can be reached and lets us in.")
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
    envvar=["DISPATCHER_INCLUDE_CONTENT", "LLM_PROXY_DISPATCHER_VERBOSE"],
    show_envvar=True,
    help="Send prompts, answers, headers and error texts too.",
)
@click.option(
    "--include-client",
    is_flag=True,
    envvar="DISPATCHER_INCLUDE_CLIENT",
    show_envvar=True,
    help="Send the addresses and user agents of clients too.",
)
@click.option(
    "--redact",
    metavar="KIND",
    multiple=True,
    envvar="DISPATCHER_REDACT",
    show_envvar=True,
    help="Take out of content: key, email, iban, card, phone, all, or re:EXPRESSION. May be repeated.",
)
@click.option(
    "--consumer",
    envvar="DISPATCHER_CONSUMER",
    show_envvar=True,
    help="Name of the cursor; each consumer gets every event.  [default: the sink]",
)
@click.option(
    "--bus",
    metavar="URL",
    envvar="DISPATCHER_BUS",
    show_envvar=True,
    help="Read Redis (redis://HOST/0?stream=NAME) in place of the spool; any number may share the work.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    envvar="DISPATCHER_GRACE",
    show_envvar=True,
    help="Seconds in which a dispatcher that is told to end sends what is left.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    envvar="DISPATCHER_METRICS_PORT",
    show_envvar=True,
    help="Serve Prometheus' text format at /metrics.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    envvar="DISPATCHER_METRICS_HOST",
    show_envvar=True,
    help="Address of the metrics.",
)
@click.option(
    "--reconcile",
    metavar="PROJECT",
    multiple=True,
    envvar="DISPATCHER_RECONCILE",
    show_envvar=True,
    help="With --follow: hold the sums of this project against the vendor's, once a day. May be repeated.",
)
@click.option(
    "--alert-after",
    type=click.FloatRange(0, 86400),
    default=60.0,
    show_default=True,
    envvar="DISPATCHER_ALERT_AFTER",
    show_envvar=True,
    help="Seconds for which a dispatcher or proxy must fail, or be right again, before alert sinks say so.",
)
@click.option(
    "--spend-factor",
    type=click.FloatRange(0, 1_000_000),
    default=3.0,
    show_default=True,
    envvar="DISPATCHER_SPEND_FACTOR",
    show_envvar=True,
    help="Alert where a project spends more than so many times what it did a week before; 0 for never.",
)
@click.option(
    "--spend-hours",
    type=click.IntRange(1, 168),
    default=6,
    show_default=True,
    envvar="DISPATCHER_SPEND_HOURS",
    show_envvar=True,
    help="How many hours of both weeks are compared.",
)
@click.option(
    "--spend-minimum",
    type=click.FloatRange(0, 1_000_000_000),
    default=10.0,
    show_default=True,
    envvar="DISPATCHER_SPEND_MINIMUM",
    show_envvar=True,
    help="Dollars in these hours below which nothing is said.",
)
@click.option("--test-alert", is_flag=True, help="Only send a test by each sink for alerts, at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals, or the check, as one JSON object.")
@places
def dispatch(
    *, follow: bool, check: bool, test_alert: bool, as_json: bool, places: Places, **settings: Any
) -> None:
    """Send the events of the spool to CloudWatch Logs, files and other backends."""
    ctx = click.get_current_context()
    command = ctx.command
    assert isinstance(command, DispatchCommand)
    line = ProgressLine()
    clean_log_records()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[line.log_handler()])
    first = jobs(command, settings)
    if check:
        ctx.exit(_check(first, as_json=as_json))
    if test_alert:
        ctx.exit(_test_alert(first, as_json=as_json))
    alive = Heartbeat()
    states = StateReporter(places.spool, {job.name: job.consumer for job in first})

    def tick() -> None:
        alive.beat()
        line.update(supervisor.totals)
        states.report(supervisor.totals)

    supervisor = Supervisor(
        places.spool,
        first,
        follow=follow,
        grace=settings["grace"],
        on_tick=tick,
        open_reader=_opener(settings["bus"], places),
        wait_for_folder=settings["bus"] is None,
    )
    with ExitStack() as stack:
        if settings["metrics_port"] is not None:
            stack.enter_context(served(supervisor.totals, settings["metrics_host"], settings["metrics_port"]))
        if follow and ALERT_SINKS.intersection(job.name for job in first):
            stack.enter_context(_watched(places, supervisor, settings))
        if settings["reconcile"]:
            stack.enter_context(_reconciled_daily(places, settings["reconcile"]))
        _handle_signals(supervisor, lambda: _again(ctx, command))
        stack.callback(alive.stopping)
        stack.enter_context(line)
        alive.ready()
        _spare_the_collector()
        failures = supervisor.run()
        states.report(supervisor.totals, ended=True)
    # Standard output may be where the events went.
    _sum_up(supervisor.totals, failures, as_json=as_json, aside=any(job.name == "stdout" for job in first))
    if failures:
        raise click.ClickException(f"{'; '.join(failures.values())} (what was not sent stays in the spool)")
    dead = sum(of.dead for of in supervisor.totals.values())
    if dead and not follow:
        raise click.ClickException(
            f"{dead} records were put aside as dead letters (`llmproxy spool status` says why; "
            "`llmproxy spool replay --dead` puts them before the sink again)"
        )


def _spare_the_collector() -> None:
    """Spare the collector.

    Events are thousands of dicts without cycles, which go by their reference counts: it would walk over them,
    and over all that was imported, again and again, and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def _handle_signals(supervisor: Supervisor, again: Callable[[], Sequence[Job] | None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.drain())
    signal.signal(signal.SIGHUP, lambda *_: supervisor.reload(again))


@contextmanager
def _reconciled_daily(places: Places, projects: Sequence[str]) -> Iterator[None]:
    """Reconcile these projects each day meanwhile."""
    from dispatch.reconciliation.service import Daily  # noqa: PLC0415 - only where it is wanted
    from dispatch.reconciliation.vendor import BASE_URL, Vendor  # noqa: PLC0415

    base_url = os.environ.get("LLMPROXY_ADMIN_BASE_URL", BASE_URL)
    daily = Daily(places.store, places.spool, projects, partial(Vendor, base_url=base_url))
    daily.start()
    try:
        yield
    finally:
        daily.close()


@contextmanager
def _watched(places: Places, supervisor: Supervisor, settings: Mapping[str, Any]) -> Iterator[None]:
    """Look meanwhile for what somebody has to be told of."""
    from dispatch.alerting.conditions import SpendRule  # noqa: PLC0415 - only where it is wanted
    from dispatch.alerting.watch import AlertWatch, WatchSettings  # noqa: PLC0415

    def send(record: AlertRecord) -> bool:
        sinks = [job.sink for job in supervisor.jobs if job.name in ALERT_SINKS]
        failures = [send_at_once(sink, record) for sink in sinks]  # of all, though one fails
        return failures.count(None) == len(failures)

    rule = SpendRule(settings["spend_factor"], settings["spend_hours"], settings["spend_minimum"])
    what = WatchSettings(settings["alert_after"], rule)
    watch = AlertWatch(places.store, places.spool, what, send, writes=settings["bus"] is None)
    watch.start()
    try:
        yield
    finally:
        watch.close()


def _opener(bus: str | None, places: Places) -> Callable[[Path, str], Reader]:
    """Choose the source of events. Raises UsageError."""
    if bus is None:
        return partial(SpoolReader, price=partial(_cost_of, places))
    from store.bus import BadBus, BusReader, Link  # noqa: PLC0415

    try:
        Link(bus).close()
    except BadBus as error:
        raise click.UsageError(str(error)) from error
    return lambda _, consumer: BusReader(Link(bus), consumer)


def _cost_of(places: Places, event: UsageEvent) -> Cost | None:
    """Price a call that a proxy's death cut off. The prices are loaded only when there is one."""
    from addons.recording.cost import BUNDLED, cost_of  # noqa: PLC0415
    from scripts.commands.figures.prices import in_force  # noqa: PLC0415

    try:
        prices = in_force(places, BUNDLED)
    except StoreError:
        prices = BUNDLED
    return cost_of(event, prices)


def _again(ctx: click.Context, command: DispatchCommand) -> list[Job] | None:
    """Give the jobs of the configuration as it is now; None, with a line in the log, where it is wrong."""
    try:
        return jobs(command, command.again(ctx))
    except click.UsageError as error:
        logger.error("configuration not taken over: %s", error.format_message())
        return None


def _check(found: Sequence[Job], *, as_json: bool) -> int:
    """Ask each sink; the exit code."""
    results: dict[str, dict[str, Any]] = {}
    for job in found:
        try:
            results[job.name] = {"ok": True, "detail": job.sink.check()}
        except DeliveryError as error:
            results[job.name] = {"ok": False, "detail": str(error)}
        finally:
            job.sink.close()
    return _show_results(results, as_json=as_json)


def _test_alert(found: Sequence[Job], *, as_json: bool) -> int:
    """Send a test by each sink for alerts; the exit code."""
    jobs = [job for job in found if job.name in ALERT_SINKS]
    if not jobs:
        raise click.UsageError(
            f"--test-alert needs a sink for alerts: --service {','.join(sorted(ALERT_SINKS))}."
        )
    results: dict[str, dict[str, Any]] = {}
    for job in jobs:
        failure = send_at_once(job.sink, alert_of_test())
        results[job.name] = {"ok": failure is None, "detail": failure or "the test was taken"}
        job.sink.close()
    return _show_results(results, as_json=as_json)


def _show_results(results: Mapping[str, Mapping[str, Any]], *, as_json: bool) -> int:
    good = all(result["ok"] for result in results.values())
    if as_json:
        click.echo(json.dumps({"ok": good, "sinks": results}))
    else:
        for name, result in results.items():
            click.echo(f"{name}: {'ok' if result['ok'] else 'failed'}: {result['detail']}")
    return 0 if good else 1


def _sum_up(totals: Mapping[str, Totals], failures: Mapping[str, str], *, as_json: bool, aside: bool) -> None:
    if as_json:
        sinks = {name: {**of.as_dict(), "failure": failures.get(name)} for name, of in totals.items()}
        counters = ("sent", "dead", "skipped", "batches", "requests", "retries", "backlog_bytes")
        summary = {name: sum(of[name] for of in sinks.values()) for name in counters}
        seconds = max((of["seconds"] for of in sinks.values()), default=0.0)
        click.echo(json.dumps({**summary, "seconds": seconds, "sinks": sinks}), err=aside)
        return
    for name, of in totals.items():
        click.echo(
            f"{name}: Sent {of.sent} events in {of.requests} requests ({of.retries} of them in vain), "
            f"put {of.dead} aside, in {of.seconds:.1f} s.",
            err=True,
        )
