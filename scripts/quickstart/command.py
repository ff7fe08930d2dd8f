"""Run ``scripts/up``: a store, the proxy and a dispatcher, running, with a call to show for it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from scripts.client.processes import python_module
from scripts.client.proxy_process import StartFailed, pick_port
from scripts.options import DEFAULT_SPOOL, Places, places
from scripts.quickstart import first_call, standin
from scripts.quickstart import report as up_report
from scripts.quickstart.credentials import KeyRefused, prepare, real_key
from scripts.quickstart.run import Run
from scripts.quickstart.services import Place, Services
from store.core.errors import StoreError
from store.core.file_locks import claim
from store.database.location import StoreLocation

VOCABULARY_SECONDS = 180.0
LOCK = "up.lock"
"""In the data folder, held as long as this process lives."""

EPILOG = """\b
What is kept in the data folder:
  store.db       projects and tokens; `llmproxy --store data/store.db token list`
  store.key      the master key, which encrypts the projects' keys in store.db
  spool/         events on their way to the dispatcher
  events.jsonl   events as the dispatcher wrote them
  ca/            the proxy's certificate authority; bundle.pem adds it to the usual ones
  logs/          what the processes said since the last start

\b
Environment:
  OPENAI_API_KEY   the real key, encrypted in the store, in project "default". Without it, a
                   stand-in for the API runs on this machine, with project "stand-in".

Every start makes a token that is good for 30 days; earlier ones stay good until they expire. The first call
costs about $0.00000002 with a real key (one embedding of one word), nothing without.

Exit codes: 0 stopped as asked, 1 something failed, 2 wrong usage."""

PORT = click.IntRange(0, 65535)


@click.command(
    epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--data", type=Path, default=Path("data"), show_default=True, help="Folder of all that is kept."
)
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port of the proxy.")
@click.option("--reverse-port", type=PORT, default=8081, show_default=True, help="Port for OPENAI_BASE_URL.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Proxies on the same ports, one for each core.",
)
@click.option("--web", is_flag=True, help="Run mitmweb instead, to look at calls in a browser.")
@click.option("--web-port", type=PORT, default=8082, show_default=True, help="Port of mitmweb.")
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the proxy, as mitmdump's --set. May be repeated.",
)
@click.option(
    "--cloudwatch",
    "demo",
    type=click.Choice(["demo"]),
    help="Ship events to a CloudWatch on this machine (moto), and show the first one as it holds it.",
)
@click.option("--log-group", metavar="NAME", help="Ship events to this log group of CloudWatch Logs too.")
@click.option("--region", metavar="NAME", help="Region of the log group; without it, as AWS's tools find it.")
@click.option("--endpoint-url", metavar="URL", help="Another CloudWatch, such as a local moto server.")
@click.option("--once", is_flag=True, help="Make the call, show its event, drain and stop.")
@click.option("--no-call", is_flag=True, help="Make no call.")
@places
def up(  # noqa: PLR0913 - one for each option
    *,
    data: Path,
    port: int,
    reverse_port: int,
    workers: int,
    web: bool,
    web_port: int,
    once: bool,
    no_call: bool,
    options: tuple[str, ...],
    demo: str | None,
    places: Places,
    **cloudwatch: str | None,
) -> None:
    """Start the proxy and a dispatcher on this machine, and make one call through them.

    Prints the call's event, lines to paste into the shell of any OpenAI client, then each call. Everything
    listens on 127.0.0.1 only; port 0 takes any free one. Ctrl-C stops the proxy, lets the dispatcher drain
    and ends all; a second Ctrl-C ends all at once.
    """
    stop = _stop_on_signals()
    try:
        key = real_key(os.environ)
        place = _place(data, port, reverse_port, web_port if web else None, places)
        if web and workers > 1:
            raise click.UsageError("--web is for one proxy; leave --workers away.")
        place = replace(place, options=options, workers=workers, cloudwatch=_cloudwatch(cloudwatch))
        if demo:
            place = replace(place, demo=_demo(place))
        _ensure_vocabularies()
        credentials = prepare(place.store, key)
        server = None if key else standin.StandIn()
        services = Services(place, standin=server, stopping=stop.is_set)
    except (KeyRefused, StartFailed, StoreError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or data}: {error.strerror or error}") from error
    if server:
        up_report.standin_notice(server.base_url)
    try:
        Run(services, place, credentials, stop).until_stopped(_call(key, no_call), once=once)
    except (StartFailed, first_call.CallFailed) as error:
        raise click.ClickException(str(error)) from error
    finally:
        services.close()


def _call(key: str | None, no_call: bool) -> first_call.Call | None:
    if no_call:
        return None
    return first_call.CHEAP if key else first_call.FREE


def _cloudwatch(options: Mapping[str, str | None]) -> tuple[str, ...]:
    """Give the dispatcher's own options of these names; none without a log group."""
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value}
    if given and "--log-group" not in given:
        raise click.UsageError(f"{next(iter(given))} is of use only with --log-group.")
    return tuple(text for pair in given.items() for text in pair)


def _demo(place: Place) -> int:
    """Return a port for moto. Raises UsageError, StartFailed."""
    if place.cloudwatch:
        raise click.UsageError("--cloudwatch demo has a log group of its own; leave --log-group away.")
    if importlib.util.find_spec("moto") is None:
        raise StartFailed(
            "--cloudwatch demo needs moto; ./scripts/up brings it, elsewhere: pip install 'llmproxy[demo]'."
        )
    return pick_port(0, "--cloudwatch")


def _place(
    data: Path,
    port: int,
    reverse_port: int,
    web_port: int | None,
    places: Places,
) -> Place:
    """Make the folder and take it; all paths are absolute. Raises StartFailed, OSError."""
    data = data.expanduser().resolve()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if claim(data / LOCK) is None:
        raise StartFailed(f"{data} is in use by another `up`; stop that one, or choose a folder with --data.")
    if 0 != port == reverse_port or 0 != web_port in (port, reverse_port):
        raise StartFailed(
            "two listeners have the same port; give --port, --reverse-port and --web-port others."
        )
    return Place(
        data,
        (places.store if places.store_given else StoreLocation.of(data / "store.db")).absolute(),
        (data / "spool" if places.spool == DEFAULT_SPOOL else places.spool).resolve(),
        pick_port(port, "--port"),
        pick_port(reverse_port, "--reverse-port"),
        None if web_port is None else pick_port(web_port, "--web-port"),
    )


def _ensure_vocabularies() -> None:
    """Fetch tiktoken's vocabularies once; without them, unreported tokens are estimated."""
    command = python_module("scripts.cli", "tokenizers", "install")
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, check=False, timeout=VOCABULARY_SECONDS, capture_output=True, text=True
        )
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"it took more than {VOCABULARY_SECONDS:.0f} s"
    if reason:
        up_report.progress(
            f"Warning: no tokenizer vocabularies ({reason}); "
            "tokens that the API does not report are estimated."
        )


def _stop_on_signals() -> threading.Event:
    """Set by the first SIGINT, SIGTERM or SIGHUP; the second one raises KeyboardInterrupt."""
    stop = threading.Event()

    def handle(_signal: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
