"""Measure requests a second, CPU a request and waits of the bundle, beside others in the same run."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from scripts.benchmarks.speed.contenders import BARE, DIRECT, KINDS, Running
from scripts.benchmarks.speed.load import load, payload_of
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import SETTLE_SECONDS, Row, Session, against_option, at, session

WARM_REQUESTS = 50


@dataclass(frozen=True, slots=True)
class Cell:
    """Says what is measured of each contender."""

    connections: int
    size: int
    """Bytes of a request."""
    rounds: int
    seconds: float
    """It is that of each round."""
    keep: bool = True
    """It tells whether connections are kept."""


@dataclass
class Figures:
    """Holds what was measured of one contender in one cell, round by round."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def add(self, who: Running, cell: Cell) -> None:
        """Measure one round."""
        before, body = who.cpu(), payload_of(cell.size, who.door.path)
        found = asyncio.run(load(who.door, body, cell.connections, seconds=cell.seconds, keep=cell.keep))
        time.sleep(SETTLE_SECONDS if who.process else 0)
        self.rates.append(len(found.waits) / found.seconds)
        self.cpu_ms.append((who.cpu() - before) * 1000 / len(found.waits))
        self.waits += found.waits


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2, 600), default=2.5, show_default=True, help="Of each round."
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1024),
    multiple=True,
    default=(16,),
    show_default=True,
    help="Kept alive.",
)
@click.option(
    "--body",
    "bodies",
    type=click.IntRange(100, 2**22),
    multiple=True,
    default=(2048,),
    show_default=True,
    help="Bytes of a request.",
)
@click.option(
    "--limits",
    "kinds",
    type=click.Choice(list(KINDS)),
    multiple=True,
    default=("none", "strict"),
    show_default=True,
    help="Limits of the token; a contender for each. `owned`: each call makes an object that is owned.",
)
@click.option(
    "--set",
    "variants",
    metavar="NAME=VALUE",
    multiple=True,
    help="Also the bundle with this option, such as llm_trim=false, or this variable, such as "
    "PYTHONOPTIMIZE=1; may be repeated.",
)
@click.option("--workers", type=click.IntRange(2, 64), help="Also `llmproxy serve` with so many proxies.")
@against_option()
@json_option
def http(  # noqa: PLR0913 - one for each option
    *,
    rounds: int,
    seconds: float,
    connections: tuple[int, ...],
    bodies: tuple[int, ...],
    kinds: tuple[str, ...],
    variants: tuple[str, ...],
    workers: int | None,
    against: tuple[str, ...],
    as_json: bool,
) -> None:
    """Requests a second, CPU a request and waits, beside bare mitmdump and other gateways.

    One process each, pinned to a core, in turn; an upstream of our own without TLS; a durable spool. Ratios
    are those of one round, so that they hold on a noisy machine; of them that of CPU is the steadier one.
    """
    with session(against) as current:
        cells = [(count, body) for count in connections for body in bodies]
        rows = requests(current, cells, kinds, variants, rounds=rounds, seconds=seconds, workers=workers)
    finish({"requests": rows}, [current], as_json=as_json)


def requests(
    current: Session,
    cells: Sequence[tuple[int, int]],
    kinds: Sequence[str],
    variants: Sequence[str] = (),
    *,
    rounds: int,
    seconds: float,
    workers: int | None = None,
) -> list[Row]:
    """Measure each cell, a number of connections and the bytes of a request, for all in turn."""
    made = current.mitmdump
    contenders = [current.direct(), *current.bare(), *(made.bundle(kind) for kind in kinds)]
    contenders += [made.bundle("none", variant) for variant in variants]
    contenders += [made.served(workers)] if workers else []
    rows = []
    with current.started([*contenders, *current.peers()]) as started:
        for connections, size in cells:
            for who in started:
                with current.trying(who):
                    body = payload_of(size, who.door.path)
                    asyncio.run(load(who.door, body, connections, requests=WARM_REQUESTS))
            rows += in_turn(current, started, Cell(connections, size, rounds, seconds))
    return rows


def in_turn(current: Session, started: Sequence[Running], cell: Cell) -> list[Row]:
    """Measure one cell, A B A B, and give a row for each contender."""
    figures = {who.contender.name: Figures() for who in started}
    for number in range(cell.rounds):
        current.say(f"{cell.connections} connections, {cell.size} B, round {number + 1} of {cell.rounds}")
        for who in started:
            with current.trying(who):
                figures[who.contender.name].add(who, cell)
    memory = {who.contender.name: who.memory() for who in started}
    return [
        {"contender": name, "connections": cell.connections, "bytes": cell.size}
        | _row(found, figures.get(BARE), figures.get(DIRECT))
        | {"memory_mib": round(memory[name]) or None}
        for name, found in figures.items()
        if found.rates
    ]


def _row(found: Figures, bare: Figures | None, direct: Figures | None) -> Row:
    rate, cpu = statistics.median(found.rates), statistics.median(found.cpu_ms)
    ratios = [own / other for own, other in zip(found.rates, bare.rates, strict=False)] if bare else []
    of_cpu = (
        [own / other for own, other in zip(found.cpu_ms, bare.cpu_ms, strict=False) if other] if bare else []
    )
    p50, p99 = at(found.waits, 50), at(found.waits, 99)
    row: Row = {
        "requests_per_second": round(rate),
        "of_bare": round(statistics.median(ratios), 2) if ratios else None,
        "of_bare_least": round(min(ratios), 2) if ratios else None,
        "of_bare_most": round(max(ratios), 2) if ratios else None,
        "cpu_ms": round(cpu, 2) or None,
        "cpu_of_bare": round(statistics.median(of_cpu), 2) if of_cpu and cpu else None,
        "cpu_of_bare_least": round(min(of_cpu), 2) if of_cpu and cpu else None,
        "cpu_of_bare_most": round(max(of_cpu), 2) if of_cpu and cpu else None,
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
    }
    if direct and direct.waits:
        row["added_p50_ms"] = round(p50 - at(direct.waits, 50), 2)
        row["added_p99_ms"] = round(p99 - at(direct.waits, 99), 2)
    return row
