"""Measure what the opening record costs a call: time on the event loop."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import click
from mitmproxy import http
from rich.console import Console
from rich.table import Table

from addons.flow.call import Call
from addons.hooks.journaling import opening
from addons.openai.endpoints import resolve
from addons.openai.glance import glance
from store.core.secret import Secret
from store.keys.project_keys import StoredKey
from store.spool import Journal, open_spool
from store.tokens.models import Grant, Project, Token

Given = TypeVar("Given")


def _grant() -> Grant:
    now = datetime.now(UTC)
    project = Project("p" * 36, "search", StoredKey("plain:sk-real-0123456789"), True, now, now)
    metadata = {"user_id": "ada", "team": "ranking"}
    token = Token("t" * 36, "sk-proxy-abc", project.id, True, now, None, None, 0, None, metadata)
    return Grant(project, token)


def _call(body: bytes, number: int) -> Call:
    request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", body)
    return Call(
        flow=cast(Any, SimpleNamespace(request=request)),
        method="POST",
        host="api.openai.com",
        url="/v1/chat/completions",
        headers=[("user-agent", "OpenAI/Python 2.8.1"), ("x-stainless-lang", "python")],
        client_address="127.0.0.1",
        kind=resolve("POST", "/v1/chat/completions"),
        started_at=datetime.now(UTC),
        started=0.0,
        id=f"01a21102-cec9-72d8-ba5f-{number:012x}",
        grant=_grant(),
        secrets=[Secret("sk-proxy-0123456789"), Secret("sk-real-0123456789")],
    )


@click.command()
@click.option("--calls", default=20_000, show_default=True)
def journal(calls: int) -> None:
    """Microseconds on the event loop for the opening record of one call, by the size of its request."""
    table = Table(title=f"Opening record, µs a call ({calls} calls each)", box=None)
    for column in ("request body", "looking at it", "whole", "median", "p99"):
        table.add_column(column, justify="right")
    for size in (200, 2_000, 20_000, 200_000):
        body = json.dumps(
            {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "x" * size}]}
        ).encode()
        looked = _times(glance, [body] * calls)
        with tempfile.TemporaryDirectory() as folder:
            writer, file = open_spool(Path(folder))
            prepared = [_call(body, number) for number in range(calls)]
            whole = _times(partial(_open, file), prepared)
            writer.append([{"event_id": call.id} for call in prepared])
            writer.close()
        table.add_row(
            f"{size:,} B",
            f"{statistics.mean(looked):.1f}",
            f"{statistics.mean(whole):.1f}",
            f"{statistics.median(whole):.1f}",
            f"{statistics.quantiles(whole, n=100)[98]:.1f}",
        )
    Console().print(table)


def _open(file: Journal, call: Call) -> None:
    file.opened(opening(call))


def _times(work: Callable[[Given], object], given: list[Given]) -> list[float]:
    taken = []
    for item in given:
        begun = time.perf_counter()
        work(item)
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken
