"""Run ``llmproxy serve``: proxies on every core, behind one port."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import click
from cryptography import x509

from scripts.client.processes import python_module
from scripts.client.proxy_process import SCRIPT, StartFailed, environment_of
from scripts.options import Places, places
from scripts.serving.sockets import Address, opened, parse
from scripts.serving.supervisor import Supervisor
from store.core import configuration
from store.database.location import StoreLocation

LINGER_SECONDS = 3
"""It says how long clients that use a connection again and again find their old proxy, before it ends."""
HANG_SECONDS = 30.0
"""As long as systemd waits for one proxy (llmproxy.service)."""


class ListenAt(click.ParamType[Address]):
    """Reads HOST:PORT, or a port of all interfaces."""

    name = "address"

    def convert(
        self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse(value, param.opts[-1] if param else "")
        except ValueError:
            self.fail(f"{value!r}: write HOST:PORT, or the port alone for all interfaces.", param, ctx)


@click.command(context_settings={"ignore_unknown_options": False})
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="the number of cores",
    help="Proxies, each a process of its own.",
)
@click.option(
    "--listen",
    type=ListenAt(),
    envvar="LLMPROXY_LISTEN",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where clients with HTTPS_PROXY come (environment: LLMPROXY_LISTEN).",
)
@click.option(
    "--listen-reverse",
    type=ListenAt(),
    envvar="LLMPROXY_LISTEN_REVERSE",
    default="127.0.0.1:8081",
    show_default=True,
    help="Where clients with OPENAI_BASE_URL come (environment: LLMPROXY_LISTEN_REVERSE).",
)
@click.option(
    "--upstream",
    default="https://api.openai.com",
    show_default=True,
    metavar="URL",
    help="Where the reverse listener leads to.",
)
@click.option(
    "--management",
    type=ListenAt(),
    help="Health, metrics and the management API of all proxies, as llm_management.",
)
@click.option(
    "--cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate chain and private key (PEM): TLS for clients of the reverse listener, by its names.",
)
@click.option(
    "--ca",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the proxies' certificate authority.  [default: ca, beside the store]",
)
@click.option(
    "--hang-timeout",
    type=click.FloatRange(0, 3600),
    default=HANG_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Kill a proxy whose event loop stands still for so long, and start it again; 0: never.",
)
@click.option("--dispatch", metavar="SERVICE", help="Run a dispatcher, too: `llmproxy dispatch --service`.")
@click.argument("mitmproxy", nargs=-1, type=click.UNPROCESSED, metavar="[-- MITMPROXY OPTIONS]")
@places
def serve(  # noqa: PLR0913 - one for each option
    *,
    workers: int,
    listen: Address,
    listen_reverse: Address,
    upstream: str,
    management: Address | None,
    cert: Path | None,
    ca: Path | None,
    hang_timeout: float,
    dispatch: str | None,
    mitmproxy: tuple[str, ...],
    places: Places,
) -> None:
    """Serve with several proxies on one port: one for each core.

    The proxies share store, spool and certificate authority. One that dies or hangs is started again.
    SIGHUP replaces all, one after the other, without a refused or cut call; SIGTERM lets calls end. What
    follows `--` is mitmproxy's own: `llmproxy serve -- --set llm_models=gpt-4o*`.
    """
    management = management or _configured_management()
    addresses = [each for each in (listen, listen_reverse, management) if each is not None]
    spool = places.spool.expanduser().resolve()
    try:
        with opened(addresses, workers):
            arguments = [
                *("--mode", f"regular@{listen.mode}", "--mode", f"reverse:{upstream}@{listen_reverse.mode}"),
                *("-s", str(SCRIPT)),
                *_set(f"confdir={ca or places.store.folder(spool) / 'ca'}"),
                *_set(f"llm_store={places.store.absolute()}"),  # a password stays in the environment
                *_set(f"llm_spool={spool}"),
                *_set("flow_detail=0"),
                *_set(f"llm_shutdown_linger={LINGER_SECONDS}"),
                *(_set(f"llm_management={management.mode}") if management else ()),
                *(part for name in _names(cert) for part in _set(f"certs={name}={cert}")),
                *mitmproxy,
            ]
            supervisor = Supervisor(
                arguments,
                addresses,
                spool,
                count=workers,
                dispatcher=_dispatcher(dispatch, spool, places.store.absolute()),
                hang_seconds=hang_timeout,
                environment=environment_of(places.store),
                say=lambda text: click.echo(f"llmproxy serve: {text}", err=True),
            )
            signal.signal(signal.SIGHUP, lambda *_: supervisor.replacing.set())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: supervisor.stopping.set())
            where = ", ".join(f"{each.option.lstrip('-')} {each}" for each in addresses)
            click.echo(f"llmproxy serve: {workers} proxies, {where}.", err=True)
            supervisor.run()
    except StartFailed as error:
        raise click.ClickException(str(error)) from error


def _set(option: str) -> tuple[str, str]:
    return "--set", option


def _configured_management() -> Address | None:
    text = configuration.load().proxy.get("llm_management")
    if not text:
        return None
    return parse(str(text) if ":" in str(text) else f"127.0.0.1:{text}", "--management")


def _names(cert: Path | None) -> list[str]:
    """Give the names and addresses that a certificate is for. Raises ClickException."""
    if cert is None:
        return []
    try:
        found = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise click.ClickException(f"--cert {cert}: no certificate with names (SAN): {error}") from error
    if "PRIVATE KEY" not in cert.read_text("latin-1"):
        raise click.ClickException(f"--cert {cert}: the private key is missing; append it to the file.")
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


def _dispatcher(service: str | None, spool: Path, store: StoreLocation) -> Sequence[str] | None:
    if service is None:
        return None
    # Alerts tell what the store knows. A URL with its password is in the environment.
    of_store = ("--store", str(store.path)) if store.path else ()
    arguments = ("dispatch", "--service", service, "--spool", str(spool), *of_store, "--follow")
    return python_module("scripts.serving.dispatcher", *arguments)
