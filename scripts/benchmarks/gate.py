"""Measure what the gate costs a call, by its limits and the tokens in the store, and what a start costs."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons, tflow, tutils
from rich.console import Console
from rich.table import Table

from addons.flow.call import open_calls
from addons.hooks.gate import Gate
from addons.runtime import Runtime
from store.database.engines import engine_of
from store.tokens import limits
from store.tokens.store import TokenStore
from store.tokens.token_text import fingerprint

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening at")
CHUNK = 20_000
SAMPLE = 200
"""Tokens of each kind that call, at most."""
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "expected": {
        "requests_per_minute": 10**6,
        "budgets": {"usd": {"day": "1000000"}, "tokens": {"month": 10**15}},
    },
    "strict": {"budgets": {"usd": {"day": "1000000"}}, "budget_mode": "strict"},
}
"""Limits that a token may have; those of token number n are of kind n modulo 3."""
BODY = json.dumps(
    {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hello there " * 40}]}
).encode()


@dataclass
class Times:
    """Holds the times of one kind of limits."""

    loop: list[float] = field(default_factory=list)
    """Microseconds of CPU on the event loop, of a token that called before."""
    first: list[float] = field(default_factory=list)
    """It is the same of a token's first call."""
    whole: list[float] = field(default_factory=list)
    """Milliseconds until the call may go upstream."""


@click.command()
@click.option(
    "--tokens", default=[10, 10_000, 1_000_000], multiple=True, show_default=True, help="In the store."
)
@click.option("--calls", default=2_000, show_default=True, help="Of each kind of limits.")
def gate(tokens: Sequence[int], calls: int) -> None:
    """Microseconds on the event loop for one call, up to its way upstream; seconds and memory of a start."""
    table = Table(title=f"Gate, a call ({calls} calls each)", box=None)
    for column in ("tokens", "limits", "loop µs p50", "p99", "first call p50", "whole ms p50", "p99"):
        table.add_column(column, justify="right")
    starts = Table(title="Start of mitmdump", box=None)
    for column in ("tokens", "store MB", "seconds", "resident MB"):
        starts.add_column(column, justify="right")
    for count in tokens:
        with tempfile.TemporaryDirectory() as name:
            store = Path(name) / "store.db"
            _fill(store, count)
            for kind, times in _measure(Path(name), count, calls).items():
                table.add_row(f"{count:,}", kind, *_row(times))
            seconds, resident = _start(Path(name))
            size = store.stat().st_size / 1e6
            starts.add_row(f"{count:,}", f"{size:.0f}", f"{seconds:.1f}", f"{resident / 1e6:.0f}")
    Console().print(table)
    Console().print(starts)


def _row(times: Times) -> list[str]:
    def at(values: list[float], digits: int) -> list[str]:
        figures = statistics.median(values), statistics.quantiles(values, n=100)[98]
        return [f"{figure:.{digits}f}" for figure in figures]

    return [*at(times.loop, 0), f"{statistics.median(times.first):.0f}", *at(times.whole, 2)]


def _text(number: int) -> str:
    return f"sk-llmp-bench-{number:032d}"


def _fill(path: Path, count: int) -> None:
    """Fill a store with so many tokens, written past the door: a million take a minute otherwise."""
    store = TokenStore.open(path)
    store.create_project("bench", "sk-real-0123456789abcdef")
    store.create_token("bench")
    store.close()
    connection = engine_of(path).connect()
    row = dict(connection.rows("SELECT * FROM tokens")[0])
    kinds = [limits.of(kind).as_json() for kind in KINDS.values()]
    for start in range(0, count, CHUNK):
        with connection.transaction():
            connection.insert(
                "tokens",
                [
                    {**row, "id": f"t{n}", "sha256": fingerprint(_text(n)), "limits": kinds[n % len(kinds)]}
                    for n in range(start, min(count, start + CHUNK))
                ],
            )
    connection.close()


def _measure(folder: Path, count: int, calls: int) -> dict[str, Times]:
    return asyncio.run(_all_kinds(folder, count, calls))


async def _all_kinds(folder: Path, count: int, calls: int) -> dict[str, Times]:
    found = {}
    with _gate(folder) as (gate_, runtime):
        for place, kind in enumerate(KINDS):
            times = found[kind] = Times()
            numbers = range(place, count, len(KINDS))[:SAMPLE]
            seen: set[int] = set()
            for turn in range(calls):
                number = numbers[turn % len(numbers)]
                taken, whole = await _call(gate_, runtime, _text(number))
                (times.loop if number in seen else times.first).append(taken)
                times.whole.append(whole)
                seen.add(number)
    return found


@contextmanager
def _gate(folder: Path) -> Iterator[tuple[Gate, Runtime]]:
    """Give the proxy's own gate, with all that it needs, outside of a proxy."""
    runtime = Runtime()
    with taddons.context(Proxyserver(), runtime) as context:
        context.configure(runtime, llm_store=str(folder / "store.db"), llm_spool=str(folder / "spool"))
        try:
            yield Gate(runtime), runtime
        finally:
            runtime.close()


async def _call(gate_: Gate, runtime: Runtime, token: str) -> tuple[float, float]:
    """Give CPU on the loop in microseconds, and the whole in milliseconds."""
    flow = _flow(token)
    begun, cpu = time.perf_counter(), time.thread_time()
    await gate_.requestheaders(flow)
    await gate_.request(flow)
    taken, whole = time.thread_time() - cpu, time.perf_counter() - begun
    if flow.response is not None:
        raise click.ClickException(f"refused: {flow.response.text}")
    call = open_calls.pop(flow.id)
    assert runtime.services is not None
    runtime.services.ledger.release(call.id)
    return taken * 1e6, whole * 1e3


def _flow(token: str) -> http.HTTPFlow:
    request = tutils.treq(
        method=b"POST",
        scheme=b"https",
        authority=b"api.openai.com",
        host="api.openai.com",
        port=443,
        path=b"/v1/chat/completions",
        headers=http.Headers([(b"host", b"api.openai.com"), (b"authorization", b"Bearer " + token.encode())]),
        content=BODY,
    )
    flow = tflow.tflow(req=request)
    flow.live, flow.client_conn.sni = True, request.host
    return flow


def _start(folder: Path) -> tuple[float, int]:
    """Give the seconds until a proxy listens, and its resident bytes then."""
    command = [
        *(str(Path(sys.executable).parent / "mitmdump"), "-s", str(ROOT / "addons" / "llmproxy.py")),
        *("--mode", "regular@127.0.0.1:0", "--set", f"confdir={folder}"),
        *("--set", f"llm_store={folder / 'store.db'}", "--set", f"llm_spool={folder / 'spool'}"),
    ]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            if LISTENING.search(line):
                break
        seconds = time.perf_counter() - begun
        resident = psutil.Process(process.pid).memory_info().rss
        process.terminate()
    return seconds, int(resident)
