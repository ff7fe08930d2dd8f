"""Measure what hostile or huge bodies cost: waits of other clients, memory, calls that stay open.

A proxy of its own, an upstream that answers at once, and two clients, all on the loopback interface: one
attacks, a few requests at a time, and the other calls all the while as if nothing were.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from addons.openai.http.json_bounds import MOST_NODES
from store.tokens import limits
from store.tokens.store import TokenStore

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening at \S*?:(\d+)")
OPEN_CALLS = re.compile(r"^llmproxy_open_calls (\d+)", re.MULTILINE)
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
STRICT = {"budgets": {"usd": {"day": "1000"}}, "budget_mode": "strict", "max_output_tokens": 100}
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
PAUSE = 0.01
"""Seconds between two calls of the other client."""
SETTLE_SECONDS = 2.0
"""After an attack, in which what it left behind is still being worked on."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Describes one kind of request, sent again and again."""

    name: str
    body: Callable[[], bytes]
    headers: tuple[tuple[str, str], ...] = ()
    path: str = CHAT
    answer: str = "small"


@cache
def _objects() -> bytes:
    return gzip.compress(b"[" + b"{}," * (7 * 2**20) + b"{}]")


@cache
def _spaces() -> bytes:
    return gzip.compress(b" " * 2**26)


def _values() -> bytes:
    """Write about as many objects as are read at all."""
    return b'{"model":"gpt-4o-mini","messages":[' + b'{"a":[]},' * (MOST_NODES // 4) + b"{}]}"


def _prompt() -> bytes:
    text = "The quick brown fox jumps over the lazy dog, 12 times. " * 38_000  # 2 MB
    return json.dumps({**HELLO, "messages": [{"role": "user", "content": text}]}).encode()


def _picture() -> bytes:
    url = "data:image/png;base64," + "A" * 10_000_000
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    return json.dumps({**HELLO, "messages": [{"role": "user", "content": parts}]}).encode()


def _hello() -> bytes:
    return json.dumps(HELLO).encode()


GZIP = (("content-encoding", "gzip"),)
ATTACKS = (
    Attack("20 KB of gzip that are 7 million objects", _objects, GZIP, RESPONSES),
    Attack("64 KB of gzip that are 64 MB of spaces", _spaces, GZIP, RESPONSES),
    Attack("750,000 values", _values),
    Attack("a prompt of 2 MB, counted", _prompt),
    Attack("a picture of 10 MB", _picture),
    Attack("an answer of 10 MB of JSON", _hello, answer="json"),
    Attack("an answer of 3 MB of vectors", _hello, answer="vectors"),
    Attack("50 KB of gzip that are an answer of 50 MB", _hello, answer="gzip"),
)


@dataclass
class Outcome:
    """Says what came of one attack."""

    waits: list[float] = field(default_factory=list)
    """Milliseconds of each call of the other client."""
    statuses: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    """It is that of each hostile call."""
    memory: tuple[int, int, int] = (0, 0, 0)
    """Resident bytes before, at the most, and after."""
    open_calls: tuple[int, int] = (0, 0)


@click.command()
@click.option("--requests", default=3, show_default=True, type=click.IntRange(1, 20), help="Of each attack.")
@click.option("--only", default="", help="Attacks whose name contains this text.")
def hostile(requests: int, only: str) -> None:
    """Waits of other clients, memory and open calls while hostile or huge bodies are judged."""
    table = Table(title=f"Hostile bodies ({requests} requests each)", box=None)
    columns = ("attack", "status", "its seconds", "others p50 ms", "p99 ms", "max ms")
    for column in (*columns, "MB before", "most", "after", "open calls before", "after"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    with (
        tempfile.TemporaryDirectory() as name,
        _upstream() as upstream,
        _proxy(Path(name), upstream) as proxy,
    ):
        proxy.call(_hello(), {}, CHAT)  # the first one takes longer
        table.add_row("none", *_row(_measure(proxy, None, requests)))
        for attack in ATTACKS:
            if only in attack.name:
                table.add_row(attack.name, *_row(_measure(proxy, attack, requests)))
    Console(width=200).print(table)


def _row(outcome: Outcome) -> list[str]:
    waits = sorted(outcome.waits)
    return [
        " ".join(str(status) for status in sorted(outcome.statuses)),
        f"{statistics.median(outcome.seconds):.2f}" if outcome.seconds else "",
        f"{statistics.median(waits):.1f}",
        f"{waits[len(waits) * 99 // 100]:.0f}",
        f"{waits[-1]:.0f}",
        *(f"{size / 1e6:.0f}" for size in outcome.memory),
        *(str(count) for count in outcome.open_calls),
    ]


class Proxy:
    """Holds a running proxy, and its two clients."""

    def __init__(self, process: int, port: int, management: int, token: str) -> None:
        self._process = psutil.Process(process)
        self._port, self._management, self._token = port, management, token

    def call(self, body: bytes, headers: dict[str, str], path: str) -> int:
        """Give the status of one call on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            return self.call_on(connection, body, headers, path)
        finally:
            connection.close()

    def call_on(
        self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str], path: str
    ) -> int:
        """Give the same on a connection that is kept."""
        given = {"authorization": f"Bearer {self._token}", "content-type": "application/json", **headers}
        connection.request("POST", path, body, given)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def resident(self) -> int:
        """Give the bytes of the proxy and of its helper."""
        processes = [self._process, *self._process.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes if process.is_running())

    def open_calls(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._management, timeout=60)
        connection.request("GET", "/metrics")
        match = OPEN_CALLS.search(connection.getresponse().read().decode())
        connection.close()
        return int(match[1]) if match else -1


def _measure(proxy: Proxy, attack: Attack | None, requests: int) -> Outcome:
    """Attack, and call as another client until a while after the last attack."""
    outcome, over = Outcome(), threading.Event()
    body = attack.body() if attack else b""
    _answer(attack.answer if attack else "small")  # made before anything is measured
    before, opened = proxy.resident(), proxy.open_calls()
    attacker = threading.Thread(target=_attack, args=[proxy, attack, body, requests, outcome, over])
    attacker.start()
    most, end = before, None
    connection = http.client.HTTPConnection("127.0.0.1", proxy._port, timeout=60)
    while end is None or time.monotonic() < end:
        begun = time.perf_counter()
        proxy.call_on(connection, _hello(), {}, CHAT)
        outcome.waits.append((time.perf_counter() - begun) * 1e3)
        most = max(most, proxy.resident())
        if over.is_set() and end is None:
            end = time.monotonic() + SETTLE_SECONDS
        time.sleep(PAUSE)
    attacker.join()
    connection.close()
    outcome.memory = before, most, proxy.resident()
    outcome.open_calls = opened, proxy.open_calls()
    return outcome


def _attack(
    proxy: Proxy, attack: Attack | None, body: bytes, requests: int, outcome: Outcome, over: threading.Event
) -> None:
    try:
        for _ in range(requests if attack else 0):
            assert attack is not None
            begun = time.perf_counter()
            headers = {**dict(attack.headers), "x-answer": attack.answer}
            outcome.statuses.add(proxy.call(body, headers, attack.path))
            outcome.seconds.append(time.perf_counter() - begun)
    finally:
        over.set()


class _Answers(BaseHTTPRequestHandler):
    """Answers as the upstream."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body, coding = _answer(self.headers.get("x-answer", "small"))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if coding:
            self.send_header("content-encoding", coding)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@cache
def _answer(kind: str) -> tuple[bytes, str]:
    if kind == "json":
        choices = [
            {"index": n, "message": {"content": "word " * 20}, "finish_reason": "stop"} for n in range(63_000)
        ]
        return json.dumps({**ANSWER, "choices": choices}).encode(), ""
    if kind == "vectors":
        data = [{"object": "embedding", "index": n, "embedding": [-0.012345] * 1536} for n in range(180)]
        return json.dumps({"object": "list", "data": data, "model": "m", "usage": USAGE}).encode(), ""
    if kind == "gzip":
        choices = [{"index": 0, "message": {"content": "word " * 10_000_000}, "finish_reason": "stop"}]
        return gzip.compress(json.dumps({**ANSWER, "choices": choices}).encode()), "gzip"
    return json.dumps(ANSWER).encode(), ""


@contextmanager
def _upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _proxy(folder: Path, upstream: int) -> Iterator[Proxy]:
    store = TokenStore.open(folder / "store.db")
    store.create_project("bench", "sk-real-0123456789abcdef")
    _, token = store.create_token("bench", limits=limits.of(STRICT))
    store.close()
    with _free_port() as management:
        command = _command(folder, upstream, management)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with subprocess.Popen(  # noqa: S603
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield Proxy(process.pid, _port(process), management, token.reveal())
        finally:
            process.terminate()


def _command(folder: Path, upstream: int, management: int) -> Sequence[str]:
    settings = {
        "confdir": folder,
        "llm_store": folder / "store.db",
        "llm_spool": folder / "spool",
        "llm_upstream": f"http://127.0.0.1:{upstream}",
        "llm_management": f"127.0.0.1:{management}",
    }
    return [
        *(str(Path(sys.executable).parent / "mitmdump"), "-s", str(ROOT / "addons" / "llmproxy.py")),
        *("--mode", "reverse:https://api.openai.com@127.0.0.1:0"),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]


@contextmanager
def _free_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        yield server.server_address[1]


def _port(process: subprocess.Popen[str]) -> int:
    """Give the port on which the proxy listens; its output is read on, so that it never waits for us."""
    assert process.stdout is not None
    for line in process.stdout:
        if match := LISTENING.search(line):
            threading.Thread(target=_read_on, args=[process.stdout], daemon=True).start()
            return int(match[1])
    raise click.ClickException("The proxy has not started; try `scripts/up` to see why.")


def _read_on(output: IO[str]) -> None:
    with suppress(ValueError):  # it is closed when the proxy has ended
        for _ in output:
            pass
