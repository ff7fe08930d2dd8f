"""Run ``llmproxy run`` and ``llmproxy env``: any program, behind the proxy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from scripts.client import client_environment, client_token, running_proxy
from scripts.client.client_token import ClientToken
from scripts.client.proxy_process import OwnProxy, StartFailed
from scripts.client.spent import Spent, Watch
from scripts.options import Expiry, Pair, Places, places
from store.core import configuration
from store.core.printable import printable

LOOK_SECONDS = 0.5
SETTLE_SECONDS = 0.5
FIRST_SECONDS = 3.0
"""A proxy that goes on after the program: how long its spool must be quiet, after some call or before any."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As shells say it."""

PROXY = click.option(
    "--proxy",
    metavar="URL",
    envvar="LLMPROXY_PROXY",
    help="The proxy to go through, http://HOST:PORT.  [default: the one that runs on this spool]",
)
CA = click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LLMPROXY_CA",
    help="That proxy's certificate authority.  [default: found beside the store or in ~/.mitmproxy]",
)
PROJECT = click.option(
    "--project",
    metavar="ID_OR_NAME",
    envvar="LLMPROXY_PROJECT",
    default=lambda: configuration.load().texts.get("project"),
    show_envvar=True,
    help='Make a token of this project.  [default: "default", or the only one there is]',
)
TOKEN = click.option("--token", metavar="TEXT", help="Use this token; none is made.")
METADATA = click.option("--metadata", "pairs", type=Pair(), multiple=True, help="A pair for the new token.")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="The exit code is the program's own; 126 and 127 where it could not be started.",
)
@TOKEN
@PROJECT
@METADATA
@PROXY
@CA
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="An option for a proxy that is started."
)
@click.option("--json", "as_json", is_flag=True, help="Print what it came to as JSON, on standard error.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@places
def run(  # noqa: PLR0913 - one for each option
    *,
    token: str | None,
    project: str | None,
    pairs: tuple[tuple[str, str], ...],
    proxy: str | None,
    ca: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    command: tuple[str, ...],
    places: Places,
) -> None:
    """Run a program with the proxy, its certificate and a token in the environment.

    \b
    llmproxy run -- python app.py
    llmproxy run --project search --metadata run=nightly -- node index.js

    A proxy that runs on the same spool is used; without one, one is started and stopped with the program.
    The token is made for this run and revoked at its end. What the calls came to is said at the end, on
    standard error. The program's own calls to OpenAI need no change; other hosts are reached as before.
    No key of the API, and no secret of the proxy, is left in its environment.
    """
    with ExitStack() as stack:
        own = None
        way = running_proxy.find(places, proxy, ca)
        if way is None:
            own = OwnProxy(places.store, places.spool, settings)
        elif settings:
            raise click.UsageError("--set is for a proxy that is started; this one runs already.")
        client = stack.enter_context(_token(places, token, project, dict(pairs), command))
        watch = Watch(places.spool, client.id) if client.id else None
        try:
            way = way or stack.enter_context(own)  # type: ignore[arg-type]
        except StartFailed as error:
            raise click.ClickException(str(error)) from error
        changes = client_environment.variables(way, client.text.reveal(), os.environ)
        hidden = client_token.key_variables(places)
        code = _run(command, client_environment.apply(changes, os.environ, hidden), watch)
        if own is not None:
            own.stop()
        if watch:
            _tell(_settled(watch, wait=own is None), as_json=as_json)
    raise click.exceptions.Exit(code)


@click.command()
@TOKEN
@PROJECT
@METADATA
@PROXY
@CA
@click.option("--expires", type=Expiry(), default="24h", show_default=True, help="When a new token ends.")
@click.option(
    "--shell",
    type=click.Choice(client_environment.SHELLS),
    default="sh",
    show_default=True,
    help="For which shell to write.",
)
@places
def env(  # noqa: PLR0913 - one for each option
    *,
    token: str | None,
    project: str | None,
    pairs: tuple[tuple[str, str], ...],
    proxy: str | None,
    ca: Path | None,
    expires: datetime | str,
    shell: str,
    places: Places,
) -> None:
    """Print what `run` would set, as lines for a shell, with a new token.

    \b
    eval "$(llmproxy env)"
    llmproxy env --shell fish | source
    llmproxy env --shell powershell | Out-String | Invoke-Expression
    """
    way = running_proxy.find(places, proxy, ca)
    if way is None:
        raise click.ClickException(running_proxy.NONE_RUNS)
    if not isinstance(expires, datetime):
        raise click.UsageError("--expires never: a token in an environment should end; give a time.")
    client = (
        client_token.given(places, token)
        if token
        else client_token.made(places, project, expires, dict(pairs))
    )
    changes = client_environment.variables(way, client.text.reveal(), os.environ)
    click.echo(client_environment.render(changes, shell))


@contextmanager
def _token(
    places: Places, text: str | None, project: str | None, metadata: dict[str, str], command: tuple[str, ...]
) -> Iterator[ClientToken]:
    """Give the token for one run; a new one is revoked at the end, and ends by itself should we be killed."""
    if text:
        yield client_token.given(places, text)
        return
    expires = Expiry().convert("24h", None, None)
    assert isinstance(expires, datetime)
    metadata = {"made_by": "llmproxy run", "command": Path(command[0]).name[:100], **metadata}
    client = client_token.made(places, project, expires, metadata)
    try:
        yield client
    finally:
        client_token.revoke(places, client)


def _run(command: tuple[str, ...], environment: Mapping[str, str], watch: Watch | None) -> int:
    """Run the program to its end and return its exit code, as a shell does."""
    with _Signals() as signals:
        try:
            child = subprocess.Popen(command, env=environment)  # noqa: S603 - what the user asked for
        except FileNotFoundError:
            click.echo(f"Error: there is no program {command[0]!r}.", err=True)
            return NOT_FOUND
        except OSError as error:
            click.echo(f"Error: {command[0]!r} can't be run: {error.strerror}.", err=True)
            return NOT_EXECUTABLE
        signals.pass_on_to(child)
        while True:
            try:
                code = child.wait(LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if watch:
                    watch.look()
    return 128 - code if code < 0 else code


class _Signals:
    """Passes requests to end on to the program; Ctrl-C reaches it by itself, from the terminal.

    It is in place before the program starts: a request in between would end us, and leave the program alone.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_on_to(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        for number in self._waiting:
            child.send_signal(number)

    def _handle(self, number: int, _frame: object) -> None:
        if self._child is None:
            self._waiting.append(number)
        else:
            self._child.send_signal(number)


def _settled(watch: Watch, *, wait: bool) -> Spent:
    """Give what it came to, once nothing more arrives: normally events follow their calls by milliseconds."""
    spent = watch.look()
    quiet_since = time.monotonic()
    while wait and time.monotonic() - quiet_since < (SETTLE_SECONDS if spent.calls else FIRST_SECONDS):
        time.sleep(0.05)
        before = spent.calls
        spent = watch.look()
        if spent.calls != before:
            quiet_since = time.monotonic()
    return spent


def _tell(spent: Spent, *, as_json: bool) -> None:
    click.echo(json.dumps(spent.as_dict()) if as_json else f"llmproxy: {printable(spent)}", err=True)
