"""Run ``llmproxy doctor``: one screen of checks, each with its remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from scripts.client import client_environment, client_token, doctor_checks, running_proxy
from scripts.client.doctor_checks import Answer, Finding
from scripts.client.proxy_process import OwnProxy, StartFailed
from scripts.client.run import CA, PROJECT, PROXY
from scripts.client.spent import Watch
from scripts.options import Places, places

SIGNS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "red"),
    "skipped": ("-", "dim"),
}


@click.command(epilog="Exit codes: 0 nothing failed (warnings may stand), 1 something failed, 2 wrong usage.")
@PROXY
@CA
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@places
def doctor(*, proxy: str | None, ca: Path | None, project: str | None, as_json: bool, places: Places) -> None:
    """Check that everything works here, with remedies for what does not.

    Makes one call to /v1/models, which costs nothing, with each kind of client that is installed, through
    the running proxy (or one that is started for it), with a token that ends with the check.
    """
    console = Console(highlight=False, soft_wrap=True)
    found = []
    for finding in _findings(places, proxy, ca, project):
        found.append(finding)
        if not as_json:
            _show(console, finding)
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in found]))
    if any(finding.status == "failed" for finding in found):
        raise click.exceptions.Exit(1)


def _findings(places: Places, proxy: str | None, ca: Path | None, project: str | None) -> Iterator[Finding]:
    store = doctor_checks.store(places)
    yield store
    yield doctor_checks.spool(places)
    yield from doctor_checks.services(places)
    yield doctor_checks.vocabularies()
    if store.status == "failed":
        yield Finding("proxy", "skipped", "the store comes first: a token for the checks is made in it")
        return
    with ExitStack() as stack:
        try:
            way = running_proxy.find(places, proxy, ca)
            if way is None:
                way = stack.enter_context(OwnProxy(places.store, places.spool))
                yield doctor_checks.warning(
                    "proxy", "none runs on this spool; one was started for the checks", "llmproxy up"
                )
            else:
                yield doctor_checks.ok("proxy", f"{way.url} is used")
        except (StartFailed, click.ClickException) as error:
            yield doctor_checks.failed("proxy", str(error), "mend that first")
            return
        yield from _calls(places, way, project)


def _calls(places: Places, way: client_environment.WayIn, project: str | None) -> Iterator[Finding]:
    expires = datetime.now(UTC) + timedelta(minutes=15)
    client = client_token.made(places, project, expires, {"made_by": "llmproxy doctor"})
    assert client.id is not None
    try:
        watch = Watch(places.spool, client.id)
        changes = client_environment.variables(way, client.text.reveal(), os.environ)
        environment = client_environment.apply(changes, os.environ, client_token.key_variables(places))
        answers: list[Answer] = []
        for finding, answer in doctor_checks.clients(environment):
            yield finding
            if answer is not None:
                answers.append(answer)
        first = answers[0] if answers else None
        yield doctor_checks.upstream(first)
        yield doctor_checks.clock(first)
        yield doctor_checks.counted(watch, len(answers))
    finally:
        client_token.revoke(places, client)


def _show(console: Console, finding: Finding) -> None:
    sign, colour = SIGNS[finding.status]
    line = Text.assemble((sign, colour), f" {finding.check:<14} {finding.detail}")
    if finding.remedy:
        line.append(f"\n                 → {finding.remedy}")
    console.print(line)
