"""Measure how long small calls wait while others send, or get, what takes long to pass or to read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import cache

import click

from scripts.benchmarks.speed.contenders import Running
from scripts.benchmarks.speed.load import CHAT_PATH, LENGTH, PIECE, Connection, connection, payload_of
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import Row, Session, against_option, at, session
from scripts.benchmarks.speed.upstream import asking

SMALL, PAUSE = 4, 0.02
"""Small calls at a time, and the seconds after each."""
UPLOAD_PATH, BOUNDARY = "/v1/audio/transcriptions", "bench-0123456789"
EXHAUSTED_SECONDS = 60.0
"""In which what others began must be over."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Says what others do meanwhile."""

    name: str
    at_once: int = 0
    wanted: str = ""
    """It is what is asked of the upstream."""
    stream: bool = False
    prompt: int = 2048
    upload: int = 0
    """Bytes of an audio file, sent in place of a prompt."""

    def request(self) -> tuple[bytes, str, str]:
        """Give its body, path and content type."""
        if self.upload:
            return _upload(self.upload), UPLOAD_PATH, f"multipart/form-data; boundary={BOUNDARY}"
        body = payload_of(self.prompt, user=self.wanted, stream=self.stream)
        return body, CHAT_PATH, "application/json"


KINDS = (
    Kind("nothing else"),
    Kind("prompts of 2 MB, counted", 1, asking(answer="unreported"), prompt=2_000_000),
    Kind("JSON answers of 10 MB", 1, asking(answer="large")),
    Kind("gzip answers that are 50 MB", 1, asking(answer="bomb")),
    Kind("20 uploads of 25 MB", 20, upload=25_000_000),
    Kind("20 streams at full speed", 20, asking(rate=0, events=3000), stream=True),
)


@cache
def _upload(size: int) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n',
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n',
        "Content-Type: audio/mpeg\r\n\r\n",
    ]
    return "".join(parts).encode() + b"\xff" * size + f"\r\n--{BOUNDARY}--\r\n".encode()


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 600), default=8, show_default=True, help="Of each row.")
@click.option(
    "--set",
    "variants",
    metavar="NAME=VALUE",
    multiple=True,
    default=("llm_workers=process", "llm_workers=thread"),
    show_default=True,
    help="The bundle with this option; may be repeated.",
)
@against_option()
@json_option
def interference(
    *, seconds: float, variants: tuple[str, ...], against: tuple[str, ...], as_json: bool
) -> None:
    """Waits of small calls while others send prompts or uploads, or get large answers or streams.

    Four small calls at a time, each 20 ms after the last. The others begin anew without pause. Other
    gateways do not take part.
    """
    with session(against) as current:
        rows = waits(current, variants, seconds=seconds)
    finish({"interference": rows}, [current], as_json=as_json)


def waits(current: Session, variants: tuple[str, ...], *, seconds: float) -> list[Row]:
    """Measure each kind for all in turn."""
    rows: list[Row] = []
    contenders = [
        current.direct(),
        *current.bare(tap=True),
        *(current.mitmdump.bundle("none", each) for each in variants),
    ]
    with current.started(contenders) as started:
        for kind in KINDS:
            for who in started:
                current.say(f"{kind.name}: {who.contender.name}")
                with current.trying(who):
                    rows.append(_row(who, kind, seconds))
    return rows


def _row(who: Running, kind: Kind, seconds: float) -> Row:
    found, others = asyncio.run(_measured(who, kind, seconds))
    time.sleep(1)  # what is still being read of them
    return {
        "contender": who.contender.name,
        "meanwhile": kind.name,
        "calls": len(found),
        "others": others,
        "p50_ms": round(at(found, 50), 1),
        "p99_ms": round(at(found, 99), 1),
        "max_ms": round(max(found) * 1000, 1),
    }


async def _skip_answer(opened: Connection) -> None:
    """Read an answer in large pieces, without parsing them, and let the small calls be timed between them."""
    head = await opened.begin_answer()
    found = LENGTH.search(head)
    left, end = int(found[1]) if found else 0, b""
    while left > 0 or not (found or end.endswith(b"0\r\n\r\n")):
        data = await opened.reader.read(PIECE)
        if not data:
            raise click.ClickException("an answer broke off.")
        left, end = left - len(data), (end + data)[-5:]
        await asyncio.sleep(0)


async def _measured(who: Running, kind: Kind, seconds: float) -> tuple[list[float], int]:
    """Say how long each small call took, and how many the others made."""
    small = payload_of(2048)
    body, path, content = kind.request()
    until = time.monotonic() + seconds
    found: list[float] = []
    others = 0

    async def call() -> None:
        async with connection(who.door) as opened:
            while True:
                begun = time.monotonic()
                await opened.call(who.door.head(small), small)
                found.append(time.monotonic() - begun)
                if time.monotonic() > until:
                    return
                await asyncio.sleep(PAUSE)

    async def other() -> None:
        nonlocal others
        while time.monotonic() < until:
            async with connection(who.door) as opened:
                await opened.send(who.door.head(body, path, content), body)
                await _skip_answer(opened)
                others += 1

    rest = [asyncio.create_task(other()) for _ in range(kind.at_once)]
    await asyncio.gather(*(call() for _ in range(SMALL)))
    done, late = await asyncio.wait(rest, timeout=EXHAUSTED_SECONDS) if rest else (set(), set())
    for task in late:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    for task in done:
        task.result()
    return found, others
