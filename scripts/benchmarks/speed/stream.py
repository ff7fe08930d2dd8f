"""Measure event streams: time to the first byte, delay of each event, CPU an event, beside others."""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from scripts.benchmarks.speed.contenders import DIRECT, Running
from scripts.benchmarks.speed.load import Door, connection, payload_of
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import SETTLE_SECONDS, Row, Session, against_option, at, session
from scripts.benchmarks.speed.upstream import asking

SENT = re.compile(rb"sent=([0-9.]+)")
SECONDS = 3.0
"""It says how long a stream takes."""
MOST_RATE, MOST_EVENTS = 50.0, 4000.0
"""Events a second of one stream, and of all: beyond that, a queue would be measured."""
CODINGS = ("identity", "gzip")
BODY = 2048


@dataclass
class Figures:
    """Holds what was measured of one contender."""

    firsts: list[float] = field(default_factory=list)
    """Seconds from before the connection to the first byte of the body."""
    delays: list[float] = field(default_factory=list)
    """Seconds from the upstream's writing of an event to its arrival."""
    cpu: float = 0.0

    def add(self, who: Running, count: int, coding: str) -> None:
        """Measure one round."""
        before = who.cpu()
        asyncio.run(streams(who.door, count, coding, self))
        time.sleep(SETTLE_SECONDS if who.process else 0)
        self.cpu += who.cpu() - before


@click.command()
@click.option(
    "--streams",
    "counts",
    type=click.IntRange(1, 1000),
    multiple=True,
    default=(20, 60, 200),
    show_default=True,
    help="At once.",
)
@click.option(
    "--coding", "codings", type=click.Choice(CODINGS), multiple=True, default=CODINGS, show_default=True
)
@click.option("--rounds", type=click.IntRange(1, 20), default=2, show_default=True)
@against_option()
@json_option
def stream(
    *,
    counts: tuple[int, ...],
    codings: tuple[str, ...],
    rounds: int,
    against: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time to the first byte, delay of each event and CPU an event, beside no proxy and bare mitmdump.

    All streams begin at once, each over a new connection, and take 3 s: 50 events a second each, and
    4,000 of all at most. Other gateways are measured without compression.
    """
    with session(against) as current:
        rows = streamed(current, counts, codings, rounds=rounds)
    finish({"streams": rows}, [current], as_json=as_json)


def streamed(current: Session, counts: Sequence[int], codings: Sequence[str], *, rounds: int) -> list[Row]:
    """Measure each number of streams in each coding, for all in turn."""
    rows: list[Row] = []
    own = [current.direct(), *current.bare(tap=True), current.mitmdump.bundle()]
    with current.started([*own, *current.peers()]) as started:
        able: list[Running] = []
        for who in started:
            with current.trying(who):
                asyncio.run(streams(who.door, 1, "identity", Figures()))
                able.append(who)
        for count in counts:
            for coding in codings:
                names = {one.name for one in own}
                those = [who for who in able if coding == "identity" or who.contender.name in names]
                rows += _in_turn(current, those, count, coding, rounds)
    return rows


def _in_turn(current: Session, started: Sequence[Running], count: int, coding: str, rounds: int) -> list[Row]:
    figures = {who.contender.name: Figures() for who in started}
    for number in range(rounds):
        current.say(f"{count} streams, {coding}, round {number + 1} of {rounds}")
        for who in started:
            with current.trying(who):
                figures[who.contender.name].add(who, count, coding)
    direct = figures[DIRECT]
    return [
        {
            "contender": name,
            "streams": count,
            "coding": coding,
            "events": len(found.delays),
            "first_p50_ms": round(at(found.firsts, 50), 1),
            "first_p99_ms": round(at(found.firsts, 99), 1),
            "first_added_ms": round(at(found.firsts, 50) - at(direct.firsts, 50), 1),
            "delay_p50_ms": round(at(found.delays, 50), 2),
            "delay_p99_ms": round(at(found.delays, 99), 2),
            "delay_added_ms": round(at(found.delays, 50) - at(direct.delays, 50), 2),
            "cpu_ms_per_event": round(found.cpu * 1000 / len(found.delays), 3) or None,
        }
        for name, found in figures.items()
        if found.delays
    ]


async def streams(door: Door, count: int, coding: str, figures: Figures) -> None:
    """Open so many streams at once and note when their events come."""
    rate = min(MOST_RATE, MOST_EVENTS / count)
    user = asking(rate=rate, events=round(rate * SECONDS), coding=coding)
    body = payload_of(BODY, user=user, stream=True)
    await asyncio.gather(*(_one(door, body, coding, figures) for _ in range(count)))


async def _one(door: Door, body: bytes, coding: str, figures: Figures) -> None:
    begun = time.monotonic()
    async with connection(door) as opened:
        await opened.send(door.head(body), body)
        head = await opened.begin_answer()
        packed = b"content-encoding: gzip" in head
        if packed != (coding == "gzip"):
            raise click.ClickException(f"a stream that was to be {coding} was not.")
        unpacker = zlib.decompressobj(wbits=31)
        first, rest = True, b""
        async for data in opened.pieces(head):
            now = time.monotonic()
            if first:
                figures.firsts.append(now - begun)
                first = False
            *events, rest = (rest + (unpacker.decompress(data) if packed else data)).split(b"\n\n")
            for event in events:
                if found := SENT.search(event):
                    figures.delays.append(now - float(found[1]))
        if b"[DONE]" not in event:
            raise click.ClickException("a stream broke off.")
