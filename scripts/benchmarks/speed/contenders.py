"""Start what is measured: no proxy, bare mitmdump, the bundle by its limits and options."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import psutil

from scripts.benchmarks.speed.load import CHAT_PATH, RESPONSES_PATH, Door, load, payload_of
from scripts.benchmarks.speed.upstream import HOST
from scripts.client.processes import python_module
from scripts.client.proxy_process import pick_port
from store.spool.status_files import read_all
from store.tokens import limits
from store.tokens.store import TokenStore

ROOT = Path(__file__).resolve().parents[3]
TAP = Path(__file__).with_name("tap.py")
KEY = "sk-upstream-0123456789"
START_SECONDS, STOP_SECONDS = 180.0, 60.0
WRONG_SECONDS = 20.0
"""It says how long answers may be errors: some listen before they can serve, and others never do."""
DIRECT, BARE, BUNDLE = "no proxy", "bare mitmdump", "bundle"
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "expected": {"budgets": {"usd": {"day": "1000000"}}},
    "strict": {"budgets": {"usd": {"day": "1000000"}}, "budget_mode": "strict", "requests_per_minute": 10**6},
    "owned": {"max_output_tokens": 1000},
}
"""Limits of the token. With `owned`, each call goes to `/v1/responses` and makes an object that is owned."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Describes one way to answer a request."""

    name: str
    settings: str
    """It is what is set, for the reader of the table."""
    version: str
    command: Sequence[str] = ()
    """Empty: the upstream itself answers."""
    door: Door = field(default_factory=lambda: Door(0, ()))
    """Port 0: the one port that its process listens on."""
    environment: Mapping[str, str] = field(default_factory=dict)
    spool: Path | None = None
    """It is that of several proxies, which are waited for."""
    pinned: bool = True
    """Its own process gets one core; what it starts, and the load, the others."""


@dataclass(frozen=True, slots=True)
class Running:
    """Is a contender that answers."""

    contender: Contender
    door: Door
    process: psutil.Popen | None

    def family(self) -> list[psutil.Process]:
        """List its process and all that this has started."""
        return [self.process, *self.process.children(recursive=True)] if self.process else []

    def cpu(self) -> float:
        """Sum the seconds of CPU of all threads and helpers."""
        total = 0.0
        for each in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
        return total

    def memory(self, *, own: bool = False) -> float:
        """Sum the MiB resident, helpers included unless only its `own` are asked for."""
        family = self.family()[:1] if own else self.family()
        return float(sum(each.memory_info().rss for each in family) / 2**20)


def direct(port: int) -> Contender:
    """Describe the upstream without anything before it."""
    return Contender(DIRECT, "", "", door=Door(port, (("Authorization", f"Bearer {KEY}"),)))


class Mitmdump:
    """Describes bare mitmdump and the bundle, which share a CA and a store."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._store = folder / "store.db"
        self._spools = 0
        self._version = importlib.metadata.version("mitmproxy")
        store = TokenStore.open(self._store)
        self._project = store.create_project("bench", KEY).id
        store.close()

    def _command(self, mode: str) -> list[str]:
        return [
            *(sys.executable, "-m", "scripts.benchmarks.speed.mitmdump", "-q", "--mode", f"{mode}@{HOST}:0"),
            *("--set", f"confdir={self._folder / 'ca'}"),
        ]

    def _mode(self, *, tunnel: bool) -> str:
        return "regular" if tunnel else f"reverse:http://{HOST}:{self._port}"

    def bare(self, *, tap: bool = False, tunnel: bool = False) -> Contender:
        """Describe it; with `tap`, answers pass as they come, and `tunnel` is for HTTPS_PROXY."""
        command = [*self._command(self._mode(tunnel=tunnel)), "--set", "connection_strategy=lazy"]
        settings = "`-q`, lazy connections"
        if tap or tunnel:
            command += ["-s", str(TAP)]
            settings += ", a script that lets bodies pass as they come"
        door = Door(0, (("Authorization", f"Bearer {KEY}"),), tunnel=self._tunnel() if tunnel else None)
        environment = {"BENCH_UPSTREAM": f"{HOST}:{self._port}"} if tunnel else {}
        return Contender(BARE, settings, f"mitmproxy {self._version}", command, door, environment)

    def bundle(self, kind: str = "none", variant: str = "", *, tunnel: bool = False) -> Contender:
        """Describe the bundle with limits and one NAME=VALUE: an option, or a variable in capitals."""
        self._spools += 1
        variable = [variant] if variant[:1].isupper() else []
        given = [
            f"llm_store={self._store}",
            f"llm_spool={self._folder / f'spool-{self._spools}'}",
            f"llm_upstream=http://{HOST}:{self._port}",
            *([variant] if variant and not variable else []),
        ]
        command = [
            *self._command(self._mode(tunnel=tunnel)),
            *("-s", str(ROOT / "addons" / "llmproxy.py")),
            *(part for one in given for part in ("--set", one)),
        ]
        limited = [f"`{kind}`"] if kind != "none" else []
        varied = [f"`{variant}`"] if variant else []
        said = ", ".join([*(f"{each} limits" for each in limited), *varied]) or "token without limits"
        return Contender(
            ", ".join([BUNDLE, *limited, *varied]),
            f"full bundle, durable spool, `-q`, {said}",
            f"mitmproxy {self._version}",
            command,
            self._door(kind, tunnel),
            dict(each.split("=", 1) for each in variable),
        )

    def served(self, workers: int) -> Contender:
        """Describe several proxies on one port, which no core is kept for."""
        spool, port = self._folder / "spool-served", pick_port(0, "--workers")
        places = ("--store", str(self._store), "--spool", str(spool))
        command = [
            *python_module("scripts.cli", *places, "serve", "--workers", str(workers)),
            *("--listen", f"{HOST}:0", "--listen-reverse", f"{HOST}:{port}"),
            *("--upstream", f"http://{HOST}:{self._port}"),
            *("--", "-q", "--set", f"llm_upstream=http://{HOST}:{self._port}"),
        ]
        door = replace(self._door("none", tunnel=False), port=port)
        settings = "the bundle, token without limits, not pinned"
        name = f"`llmproxy serve --workers {workers}`"
        return Contender(
            name, settings, f"mitmproxy {self._version}", command, door, spool=spool, pinned=False
        )

    def _door(self, kind: str, tunnel: bool) -> Door:
        store = TokenStore.open(self._store)
        _, text = store.create_token(self._project, limits=limits.of(KINDS[kind]))
        store.close()
        path = RESPONSES_PATH if kind == "owned" else CHAT_PATH
        headers = (("Authorization", f"Bearer {text.reveal()}"),)
        return Door(0, headers, path, self._tunnel() if tunnel else None)

    def _tunnel(self) -> ssl.SSLContext:
        """Trust anything: what is measured is on this machine, and its CA is made as it starts."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@contextlib.contextmanager
def running(one: Contender, *, ready: bool = True) -> Iterator[Running]:
    """Start a contender on a core of its own; with `ready`, make a first call, and settle its helpers."""
    if not one.command:
        yield Running(one, one.door, None)
        return
    process = psutil.Popen(
        one.command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        | dict(one.environment),
        preexec_fn=_use_all_cores,
    )
    try:
        if one.spool is not None:
            _wait_until_all_serve(one.spool, process)
        started = Running(
            one, replace(one.door, port=one.door.port or listening_port(process, one.name)), process
        )
        if ready:
            _wait_until_ready(started)
            _place(started)
        yield started
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
            for each in [*process.children(recursive=True), process]:
                each.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def _use_all_cores() -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """Leave the first core to what is measured: this process, and what it starts, take the others."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, before - {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _place(started: Running) -> None:
    """Pin its own process to the first core and its helpers to the others, where there are any."""
    cores = set(range(os.cpu_count() or 1))
    if len(cores) < 2 or not started.contender.pinned:
        return
    first = {min(cores)}
    for each in started.family():
        wanted = first if each == started.process else cores - first
        for thread in each.threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, wanted)


def _wait_until_ready(started: Running) -> None:
    """Make calls until one is answered: some listen before they are ready."""
    deadline = time.monotonic() + START_SECONDS
    answered = False
    while True:
        try:
            asyncio.run(load(started.door, payload_of(200, started.door.path), 1, requests=1))
            return
        except (OSError, click.ClickException, asyncio.IncompleteReadError) as error:
            if isinstance(error, click.ClickException) and not answered:
                answered, deadline = True, min(deadline, time.monotonic() + WRONG_SECONDS)
            if time.monotonic() > deadline or (started.process and started.process.poll() is not None):
                raise click.ClickException(f"{started.contender.name}: {error}") from error
        time.sleep(0.1)


def _wait_until_all_serve(spool: Path, process: psutil.Popen) -> None:
    for _ in range(900):
        time.sleep(0.1)
        serving = [one for one in read_all(spool) if one.alive and one.value.get("listeners")]
        wanted = [each for each in process.children() if "scripts.serving.worker" in each.cmdline()]
        if wanted and len(serving) >= len(wanted):
            time.sleep(1)  # the last one may have just been started
            return
    raise click.ClickException("the proxies did not start.")


def listening_port(process: psutil.Popen, name: str) -> int:
    """Wait for the port on which a process listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            for found in process.net_connections("tcp"):
                if found.status == psutil.CONN_LISTEN:
                    return int(found.laddr.port)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise click.ClickException(f"{name} did not start.")
