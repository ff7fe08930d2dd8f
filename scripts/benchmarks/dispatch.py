"""Run ``scripts/bench dispatch``: how fast a spool drains to CloudWatch Logs, and what is lost.

Both it and watchtower send the same messages to the strict server, over kept-alive connections, each from a
process of its own. Ours starts from the spool: it reads, parses and shapes each event first. The peer is
handed texts that are ready, in memory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dispatch.message import encode, message
from dispatch.outline import outline
from scripts.benchmarks.events import events, fill
from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from store.spool import SpoolReader, SpoolWriter

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DISPATCHER_"))},
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONPATH": os.pathsep.join(sys.path),
}
STREAM = "bench"
LIMIT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Run:
    """Holds one sender's run over all events."""

    name: str
    events: int
    stored: int
    seconds: float
    """It is that of the work, without the start of the interpreter."""
    cpu: float
    """Seconds of the whole process, its start included."""
    peak: int
    """Bytes of resident memory."""

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON output."""
        return {
            "sender": self.name,
            "events": self.events,
            "lost": max(0, self.events - self.stored),
            "events_per_second": round(self.rate),
            "cpu_seconds_per_100k": round(self.cpu * 100_000 / self.events, 2),
            "peak_mb": round(self.peak / 2**20, 1),
        }


class Server:
    """Runs the strict server in a process of its own, which only counts."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.strict_cloudwatch", "--count"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        self.url = self._line()
        self._seen = 0

    def stored(self) -> int:
        """Count events since the last question."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        total = int(json.loads(self._line())["stored"])
        new, self._seen = total - self._seen, total
        return new

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _ours(spool: Path, endpoint: str, group: str, way: str, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "scripts.cli", "--spool", str(spool), "dispatch", "--service", "cloudwatch"),
        *("--log-group", group, "--log-stream", STREAM, "--endpoint-url", endpoint, way, "--json", *more),
    ]


def _peer(file: Path, endpoint: str, group: str, *more: str) -> list[str]:
    module = "scripts.benchmarks.watchtower_peer"
    return [sys.executable, "-m", module, str(file), endpoint, group, STREAM, *more]


def _measure(name: str, command: list[str], count: int, stored: Callable[[], int]) -> Run:
    """Run a sender to its end."""
    process = subprocess.Popen(  # noqa: S603 - our own
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        assert process.stderr is not None
        raise click.ClickException(f"{name} failed: {process.stderr.read().decode()[-500:]}")
    seconds = float(json.loads(said.splitlines()[-1])["seconds"])
    cpu = usage.ru_utime + usage.ru_stime
    return Run(name, count, stored(), seconds, cpu, usage.ru_maxrss * 1024)


def _create(url: str, group: str) -> None:
    import boto3  # noqa: PLC0415 - slow to import

    client = boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106 - none
    )
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName=STREAM)


def _texts(folder: Path, count: int) -> Path:
    """Give the messages of `count` events, a line each."""
    path = folder / f"messages-{count}.jsonl"
    with path.open("w") as file:
        for made in events(count):
            file.write(encode(message(made)) + "\n")
    return path


def drained(folder: Path, count: int, streams: int) -> tuple[Run, Run]:
    """Drain ours and the peer's, one after the other, to a stream that exists."""
    fill(folder / "spool", count)
    texts = _texts(folder, count)
    server = Server()
    try:
        _create(server.url, "/bench/ours")
        _create(server.url, "/bench/peer")
        more = ("--streams", str(streams)) if streams > 1 else ()
        command = _ours(folder / "spool", server.url, "/bench/ours", "--once", "--batch-size", "4000", *more)
        # One record more: the writer's closing one.
        ours = _measure("llmproxy dispatch", command, count + 1, server.stored)
        peer = _measure("watchtower", _peer(texts, server.url, "/bench/peer"), count, server.stored)
    finally:
        server.close()
    return ours, peer


def backlog(folder: Path, count: int) -> Run:
    """Give the memory of draining a large spool."""
    fill(folder / "backlog", count)
    server = Server()
    try:
        command = _ours(folder / "backlog", server.url, "/bench/backlog", "--once")
        return _measure("llmproxy dispatch", command, count + 1, server.stored)
    finally:
        server.close()


def lost_without_stream(folder: Path, count: int) -> dict[str, int]:
    """Count records that never arrived, when neither group nor stream was there."""
    fill(folder / "missing", count)
    texts = _texts(folder, count)
    server = Server()
    try:
        command = _ours(folder / "missing", server.url, "/bench/none/ours", "--once")
        ours = _measure("llmproxy dispatch", command, count + 1, server.stored)
        peer = _measure("watchtower", _peer(texts, server.url, "/bench/none/peer"), count, server.stored)
    finally:
        server.close()
    return {run.name: run.events - run.stored for run in (ours, peer)}


def lost_in_outage(folder: Path, count: int, seconds: float) -> dict[str, int]:
    """Count records that never arrived, when the server was away for `seconds` while they were made."""
    spool = folder / "outage"
    writer = SpoolWriter(spool)
    made = list(events(count))
    writer.append(made[:1])
    with ExitStack() as stack:
        server = stack.enter_context(StrictCloudWatch(keep=True))
        server.create("/bench/ours", STREAM)
        server.create("/bench/peer", STREAM)
        ours = stack.enter_context(_running(_ours(spool, server.url, "/bench/ours", "--follow")))
        peer = stack.enter_context(_running(_peer(_texts(folder, count), server.url, "/bench/peer", "wait")))
        assert peer.stdout is not None
        assert peer.stdin is not None
        peer.stdout.readline()
        _wait_for(lambda: len(_ids(server, "/bench/ours")) == 1)
        server.stop()
        writer.append(made[1:])
        peer.stdin.write("go\n")
        peer.stdin.flush()
        time.sleep(seconds)
        server.start()
        peer.wait(LIMIT_SECONDS)
        _wait_for(lambda: len(_ids(server, "/bench/ours")) == count)
        ours.send_signal(signal.SIGTERM)
        ours.wait(LIMIT_SECONDS)
        found = {"llmproxy dispatch": "/bench/ours", "watchtower": "/bench/peer"}
        lost = {name: count - len(_ids(server, group)) for name, group in found.items()}
    writer.close()
    return lost


def _ids(server: StrictCloudWatch, group: str) -> set[str]:
    found = (json.loads(event.message) for event in server.events(group))
    return {str(shown["event_id"]) for shown in found if shown["type"] == "llm_proxy_usage"}


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - our own
        command,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException("not all events arrived in time")
        time.sleep(0.2)


def costs(folder: Path, count: int) -> dict[str, float]:
    """Give the microseconds of CPU for each event, in this process: what is done before anything is sent.

    Both ways to a message: from the line, one level deep; and for what needs it (content, redaction, metrics,
    other sinks) by parsing, choosing and writing.
    """
    fill(folder / "costs", count)
    with SpoolReader(folder / "costs", "costs") as reader:
        begin = time.process_time()
        batch = reader.read(max_events=count, max_bytes=2**31)
        read = time.process_time()
        for record in batch.records:
            outline(record.line)
        outlined = time.process_time()
        for record in batch.records:
            record.value  # noqa: B018 - parsed when asked for
        parsed = time.process_time()
        shown = [message(record.value) for record in batch.records]
        shaped = time.process_time()
        for one in shown:
            encode(one)
        encoded = time.process_time()
    each = 1e6 / len(batch.records)
    return {
        "read": (read - begin) * each,
        "message from the line": (outlined - read) * each,
        "or parse": (parsed - outlined) * each,
        "shape": (shaped - parsed) * each,
        "write": (encoded - shaped) * each,
    }


@click.command()
@click.option("--events", "count", type=click.IntRange(1000), default=200_000, show_default=True)
@click.option("--streams", type=click.IntRange(1, 32), default=1, show_default=True, help="Of ours.")
@click.option(
    "--backlog",
    "large",
    type=click.IntRange(0),
    default=1_000_000,
    show_default=True,
    help="Events of the spool whose draining is watched for memory; 0 leaves it out.",
)
@click.option(
    "--outage",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds without a server; 0 leaves it out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def dispatch(*, count: int, streams: int, large: int, outage: float, as_json: bool) -> None:
    """The dispatcher against watchtower: rate, CPU, memory, and what each loses."""
    with tempfile.TemporaryDirectory(prefix="llmproxy-bench-") as name:
        folder = Path(name)
        runs = [run.as_dict() for run in drained(folder, count, streams)]
        lost = {"stream missing": lost_without_stream(folder, min(count, 50_000))}
        if outage:
            lost[f"server away for {outage:g} s"] = lost_in_outage(folder, min(count, 50_000), outage)
        result: dict[str, Any] = {
            "runs": runs,
            "ratio": round(runs[0]["events_per_second"] / runs[1]["events_per_second"], 2),
            "lost": lost,
            "microseconds_per_event": {k: round(v, 2) for k, v in costs(folder, min(count, 50_000)).items()},
        }
        if large:
            result["backlog"] = backlog(folder, large).as_dict()
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(result)


def _show(result: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(
        "sender", "events/s", "CPU s per 100k", "peak MB", *(f"lost: {case}" for case in result["lost"])
    )
    for run in result["runs"]:
        lost = (f"{by[run['sender']]:,}" for by in result["lost"].values())
        table.add_row(
            run["sender"],
            f"{run['events_per_second']:,}",
            f"{run['cpu_seconds_per_100k']}",
            f"{run['peak_mb']}",
            *lost,
        )
    console.print(table)
    console.print(f"Rate: {result['ratio']} times the peer's.")
    costs = ", ".join(f"{name} {each} µs" for name, each in result["microseconds_per_event"].items())
    console.print(f"Of ours, for each event before it is sent: {costs}.")
    if "backlog" in result:
        large = result["backlog"]
        console.print(
            f"Draining a spool of {large['events']:,}: {large['events_per_second']:,} events/s, "
            f"{large['peak_mb']} MB at most."
        )
