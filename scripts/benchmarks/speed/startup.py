"""Measure how long a start takes, what a first call then waits for, and how long commands take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
import psutil

from scripts.benchmarks.speed.contenders import ROOT, Contender, running
from scripts.benchmarks.speed.load import load, payload_of
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import Row, Session, against_option, session
from scripts.benchmarks.speed.upstream import HOST
from scripts.client.processes import python_module

COMMANDS: dict[str, Sequence[str]] = {"`llmproxy --help`": ("--help",), "`llmproxy status`": ("status",)}
VARIANTS = ("llm_workers=process", "llm_workers=thread")
READY_SECONDS = 3.0
"""In which what is loaded after the first answer is there."""
SLOW_SECONDS = 20.0
"""It is that of a round: who takes longer is started in the first one only."""


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@against_option()
@json_option
def startup(*, rounds: int, against: tuple[str, ...], as_json: bool) -> None:
    """Seconds from the command to the first answer; milliseconds of the first call some seconds later."""
    with session(against) as current:
        rows = starts(current, rounds=rounds)
    finish({"startup": rows}, [current], as_json=as_json)


def starts(current: Session, *, rounds: int) -> list[Row]:
    """Start each in turn; its first call is that of a second start, some seconds after it listens."""
    own = [*current.bare(), *(current.mitmdump.bundle("none", each) for each in VARIANTS)]
    found: dict[str, list[Row]] = defaultdict(list)
    contenders = [*own, *current.peers()]
    current.contenders |= {one.name: one for one in contenders}
    for number in range(rounds):
        current.say(f"starts, round {number + 1} of {rounds}")
        for one in list(contenders):
            begun = time.monotonic()
            try:
                found[one.name].append(_start(one))
            except click.ClickException as error:
                current.problems.append(error.message)
                contenders.remove(one)
            else:
                if one not in own and time.monotonic() - begun > SLOW_SECONDS:
                    contenders.remove(one)
        for name, arguments in COMMANDS.items():
            found[name].append(_command(arguments, current.folder))
    return [{"what": name} | _medians(rows) for name, rows in found.items() if rows]


def _medians(rows: Sequence[Row]) -> Row:
    return {
        name: round(statistics.median(row[name] for row in rows), 2) if rows[0][name] is not None else None
        for name in rows[0]
    }


def _start(one: Contender) -> Row:
    begun = time.monotonic()
    with running(one) as who:  # until a first call is answered
        seconds, spent = time.monotonic() - begun, who.cpu()
    with running(one, ready=False) as who:
        _wait_until_it_listens(who.door.port)
        time.sleep(READY_SECONDS)
        called = time.monotonic()
        asyncio.run(load(who.door, payload_of(2048), 1, requests=1))
        first, held = time.monotonic() - called, who.memory(own=True)
    return {"seconds": seconds, "cpu_seconds": spent, "first_call_ms": first * 1000, "memory_mib": held}


def _wait_until_it_listens(port: int) -> None:
    for _ in range(1800):
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.1)
    raise click.ClickException(f"nothing listens on port {port}.")


def _command(arguments: Sequence[str], folder: Path) -> Row:
    begun = time.monotonic()
    process = psutil.Popen(
        python_module("scripts.cli", "--spool", str(folder / "spool-1"), *arguments),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    most = 0.0
    while process.poll() is None:
        most = max(most, process.memory_info().rss / 2**20)
        time.sleep(0.005)
    seconds = time.monotonic() - begun
    return {"seconds": seconds, "cpu_seconds": None, "first_call_ms": None, "memory_mib": most}
