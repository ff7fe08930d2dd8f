"""Measure what memory a proxy holds: at the start, after a counted stream, after calls, for open streams."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import click

from scripts.benchmarks.speed.contenders import Running
from scripts.benchmarks.speed.load import Connection, connection, load, payload_of
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import Row, Session, against_option, session
from scripts.benchmarks.speed.upstream import asking

VARIANTS = ("llm_workers=process", "llm_workers=thread")
CONNECTIONS, BODY = 16, 2048
COUNTED_SECONDS = 3.0
"""Until the tokens of a stream are counted, and what that took is settled."""
EVENTS, RATE = 40, 2.0
"""It is that of a stream that is held open: longer than it takes to open them all."""


@click.command()
@click.option("--calls", type=click.IntRange(100, 10**7), default=5000, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(1), help="Stop the calls after so long, however many were made."
)
@click.option("--streams", type=click.IntRange(1, 1000), default=100, show_default=True, help="Held open.")
@against_option()
@json_option
def memory(
    *, calls: int, seconds: float | None, streams: int, against: tuple[str, ...], as_json: bool
) -> None:
    """MiB resident at the start, after the first counted stream and after calls; KiB for an open stream."""
    with session(against) as current:
        rows = remembered(current, calls=calls, seconds=seconds or 0.0, streams=streams)
    finish({"memory": rows}, [current], as_json=as_json)


def remembered(current: Session, *, calls: int, seconds: float, streams: int) -> list[Row]:
    """Measure each contender alone."""
    rows: list[Row] = []
    own = [*current.bare(tap=True), *(current.mitmdump.bundle("none", each) for each in VARIANTS)]
    for one in [*own, *current.peers()]:
        with current.started([one]) as started:
            for who in started:
                with current.trying(who):
                    rows.append(_row(current, who, calls, seconds, streams))
    return rows


def _row(current: Session, who: Running, calls: int, seconds: float, streams: int) -> Row:
    time.sleep(COUNTED_SECONDS)
    row: Row = {"contender": who.contender.name, **_mib(who, "start")}
    asyncio.run(_count_a_stream(who))
    time.sleep(COUNTED_SECONDS)
    row |= _mib(who, "counted")
    current.say(f"{who.contender.name}: {calls} calls")
    found = asyncio.run(load(who.door, payload_of(BODY), CONNECTIONS, seconds=seconds, requests=calls))
    time.sleep(1)
    row |= {"calls": len(found.waits), **_mib(who, "after")}
    row["stream_kib"] = round(asyncio.run(_growth(who, streams)) * 1024 / streams)
    return row


def _mib(who: Running, when: str) -> Row:
    """Give what its own process holds, and with its helpers."""
    return {f"{when}_mib": round(who.memory(own=True)), f"{when}_all_mib": round(who.memory())}


async def _count_a_stream(who: Running) -> None:
    """Read a stream whose usage the upstream does not report, so that its tokens have to be counted."""
    body = payload_of(BODY, user=asking(rate=0, events=50, usage="no"), stream=True)
    async with connection(who.door) as opened:
        await opened.call(who.door.head(body), body)


async def _growth(who: Running, streams: int) -> float:
    """Give the MiB by which all grows while so many streams are open, of which some events have come."""
    async with contextlib.AsyncExitStack() as stack:
        before = who.memory()
        await asyncio.gather(*(stack.enter_async_context(_open_stream(who)) for _ in range(streams)))
        await asyncio.sleep(3)
        return who.memory() - before


@contextlib.asynccontextmanager
async def _open_stream(who: Running) -> AsyncIterator[Connection]:
    body = payload_of(BODY, user=asking(rate=RATE, events=EVENTS), stream=True)
    async with connection(who.door) as opened:
        await opened.send(who.door.head(body), body)
        await opened.begin_answer()
        reading = asyncio.create_task(_read_on(opened))
        try:
            yield opened
        finally:
            reading.cancel()


async def _read_on(opened: Connection) -> None:
    while await opened.reader.read(2**16):
        pass
