"""Run ``scripts/bench kills``: SIGKILL under load, then an account of every call."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
import psutil
from rich.console import Console
from rich.progress import track

from scripts.benchmarks.faults.callers import Callers, Upstream
from scripts.client.processes import python_module
from scripts.client.proxy_process import pick_two_ports
from store.spool import usage_checkpoint
from store.spool.status_files import read_all
from store.tokens import limits
from store.tokens.store import TokenStore

VICTIMS = ("proxy", "reader", "pool", "dispatcher")
LIMITS = {"budgets": {"usd": {"total": "1000000"}}, "budget_mode": "strict", "max_output_tokens": 500}
"""It is that of the token: each call is reserved and settled one by one."""
WORKERS, LASTING = 2, 10.5
"""Proxies; and the seconds after which what ends is started again at once: a short life makes a pause."""
POOL, READERS = "addons.recording.reading.pool", 2
"""It is what starts the processes that read finished calls, and how many there are for two proxies."""
PATIENCE = 120.0
BAD = ("without_an_event", "with_two_events", "recorded_as_not_sent_but_sent")
"""It is what must be empty in an account."""
T = TypeVar("T")


@dataclass
class Deployment:
    """Is a running ``llmproxy serve`` with two proxies, what reads for both, and a dispatcher."""

    folder: Path
    upstream: Upstream
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        store = TokenStore.open(self.folder / "store.db")
        project = store.create_project("bench", "sk-upstream-0123456789")
        token, text = store.create_token(project.id, limits=limits.of(LIMITS))
        store.close()
        self.token_id, self.token = token.id, text.reveal()
        listen, self.port = pick_two_ports()
        url = f"http://127.0.0.1:{self.upstream.port}"
        names = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self._environment = {**names, "DISPATCHER_FILE_OUTPUT": str(self.delivered)}
        self._log = (self.folder / "log").open("w+")
        self.process = psutil.Popen(
            [
                *self._command("serve", "--workers", str(WORKERS), "--listen", f"127.0.0.1:{listen}"),
                *("--listen-reverse", f"127.0.0.1:{self.port}", "--upstream", url, "--dispatch", "file"),
                *("--", "-q", "--set", f"llm_upstream={url}", "--set", "llm_workers=shared"),
            ],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait(lambda: len(self.proxies()) == WORKERS, "two proxies")

    @property
    def delivered(self) -> Path:
        return self.folder / "delivered.jsonl"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def _command(self, *arguments: str) -> list[str]:
        places = ("--store", str(self.folder / "store.db"), "--spool", str(self.spool))
        return python_module("scripts.cli", *places, *arguments)

    def _wait(self, condition: Callable[[], T], what: str) -> T:
        """Wait for a true value. Raises ClickException."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise click.ClickException(f"waited in vain for {what}:\n{self.output()[-2000:]}")
            time.sleep(0.02)
        return value

    def output(self) -> str:
        return (self.folder / "log").read_text()

    def proxies(self) -> list[psutil.Process]:
        """List the proxies that serve, the oldest first."""
        pids = [one.value["pid"] for one in read_all(self.spool) if one.alive and one.value.get("listeners")]
        found = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return sorted(found, key=psutil.Process.create_time)

    def pools(self) -> list[psutil.Process]:
        """List what starts the processes that read finished calls, for all proxies."""
        return [each for each in self.process.children() if POOL in _command_line(each)]

    def readers(self) -> list[psutil.Process]:
        """List the processes that read finished calls."""
        found = []
        for pool in self.pools():
            with suppress(psutil.NoSuchProcess):
                found += pool.children()
        return found

    def dispatchers(self) -> list[psutil.Process]:
        return [each for each in self.process.children() if "dispatch" in _command_line(each)]

    def kill(self, victim: str, rng: random.Random) -> None:
        """Kill the oldest proxy, the pool or the dispatcher, once they have lasted, or any reader."""
        found, count = {
            "proxy": (self.proxies, WORKERS),
            "reader": (self.readers, READERS),
            "pool": (self.pools, 1),
            "dispatcher": (self.dispatchers, 1),
        }[victim]
        self._wait(lambda: len(found()) >= count, f"each {victim}")
        those = found()
        one = rng.choice(those) if victim == "reader" else those[0]
        if victim != "reader":
            time.sleep(max(0.0, one.create_time() + LASTING - time.time()))
        time.sleep(rng.uniform(0, 0.3))
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
            self.killed[victim] += 1
        if victim == "proxy":
            self._wait(lambda: len([each for each in found() if each != one]) >= count, f"another {victim}")

    def finish(self) -> None:
        """Wait until what dead proxies left is recorded and counted; end all in order, and drain."""
        self._wait(
            lambda: not usage_checkpoint.left_behind(self.spool), "what dead proxies left to be counted"
        )
        self.process.terminate()
        if code := self.process.wait(PATIENCE):
            raise click.ClickException(f"serve ended with {code}:\n{self.output()[-2000:]}")
        self.run("dispatch", "--service", "file", "--once")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own command
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise click.ClickException(
                f"llmproxy {arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}"
            )
        return done.stdout

    def close(self) -> None:
        """End what still runs, in any order."""
        with suppress(psutil.NoSuchProcess):
            for each in [*self.process.children(recursive=True), self.process]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait()
        self._log.close()


def _command_line(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def account(here: Deployment, callers: Callers) -> dict[str, Any]:
    """Hold calls against events, what was delivered, and what was counted."""
    lines = [json.loads(line) for line in here.delivered.read_text().splitlines()]
    delivered = [line for line in lines if line["type"] == "llm_proxy_usage"]
    events = {event["event_id"]: event for event in delivered}
    of_user = Counter(event["user"]["id"] for event in events.values() if isinstance(event["user"], dict))
    sent = [e for e in events.values() if e["outcome"] != "refused" and e["usage_missing_code"] != "not_sent"]
    unsent = {e["user"]["id"] for e in events.values() if e["usage_missing_code"] == "not_sent"}
    ok = {event["user"]["id"] for event in events.values() if event["outcome"] == "ok"}
    store = TokenStore.open(here.folder / "store.db")
    counted = store.get_token(here.token_id).request_count
    store.close()
    hourly = sum(row["calls"] for row in json.loads(here.run("report", "usage", "--json")))
    proof = json.loads(here.run("prove", "--since", "1d", "--json"))
    reached = here.upstream.users()
    found = {
        "killed": dict(here.killed),
        "answered": len(callers.answered),
        "cut_off": callers.cut_off,
        "refused": dict(callers.refused),
        "reached_the_upstream": len(reached),
        "events": len(events),
        "of_them_cut_off": sum(event["outcome"] == "proxy_died" for event in events.values()),
        "delivered_twice": len(delivered) - len(events),
        "without_an_event": sorted((callers.answered | reached) - of_user.keys())[:10],
        "with_two_events": sorted(user for user, count in of_user.items() if count > 1)[:10],
        "answered_but_cut_off": len(callers.answered - ok),  # killed before it wrote that it was over
        "recorded_as_not_sent_but_sent": sorted(reached & unsent)[:10],
        "sent": len(sent),
        "counted_by_the_budget": counted,
        "counted_by_the_hour": hourly,
        "proof_complete": proof["complete"],
    }
    found["ok"] = (
        not any(found[name] for name in BAD)
        and counted == len(sent)
        and hourly == len(events)
        and bool(proof["complete"])
    )
    return found


@click.command()
@click.option("--rounds", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option(
    "--victim",
    "victims",
    type=click.Choice(VICTIMS),
    multiple=True,
    default=VICTIMS,
    show_default=True,
    help="What is killed in each round; may be repeated.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def kills(*, rounds: int, victims: Sequence[str], seed: int, as_json: bool) -> None:
    """Kill proxies, reading processes, what starts those, and dispatchers, then account for every call.

    `llmproxy serve` with two proxies, a strict budget and streams among the calls. Exit code 1 where a call
    that was answered, or reached the upstream, has not exactly one event, where the budget or the hourly sums
    counted another number, or where `llmproxy prove` finds a gap.
    """
    console = Console(stderr=True)
    begun, rng = time.monotonic(), random.Random(seed)  # noqa: S311 - repeatable
    with tempfile.TemporaryDirectory() as folder, Upstream() as upstream:
        here = Deployment(Path(folder), upstream)
        try:
            with Callers(here.port, here.token) as callers:
                for _ in track(range(rounds), "kills", console=console, disable=not console.is_terminal):
                    for victim in victims:
                        here.kill(victim, rng)
            here.finish()
            found = {"rounds": rounds, "seed": seed, **account(here, callers)}
        finally:
            here.close()
    found["seconds"] = round(time.monotonic() - begun)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name:24} {value}")
    click.get_current_context().exit(0 if found["ok"] else 1)
