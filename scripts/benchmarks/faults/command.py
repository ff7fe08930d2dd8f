"""Run ``scripts/bench faults``: rounds of random faults, then an account of every call."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from scripts.benchmarks.faults.backend import AMBIGUOUS, CLEAN, Backend
from scripts.benchmarks.faults.processes import PATIENCE, Proxy, command, dispatcher, environment
from store.spool import cursor
from store.spool.segment import segments

GROUP = "/llm/faults"
ROUND_SECONDS = 8.0
BATCH = 200
"""Events between two moves of the cursor."""


class Course:
    """Makes one run: a proxy, a dispatcher and a backend, and what befalls them."""

    def __init__(self, folder: Path, backend: Backend, seed: int) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.backend = backend
        self.random = random.Random(seed)  # noqa: S311 - repeatable
        self.accepted: set[str] = set()
        self.damaged: set[str] = set()
        """Events of which a byte was changed on the disk: they are dead letters, if not delivered before."""
        self.bound = 0
        """It says how many duplicates there may be."""
        self.happened: Counter[str] = Counter()
        self.problems: list[str] = []
        self.clock = 0.0
        self.proxy = self._new_proxy()
        self.dispatcher = self._new_dispatcher()

    def _new_proxy(self) -> Proxy:
        return Proxy(self.spool, self.random.randrange(2**31), self.clock, self.accepted)

    def _arguments(self) -> list[str]:
        to = ["--service", "cloudwatch", "--log-group", GROUP, "--log-stream", "proxy"]
        return [*to, "--region", "eu-central-1", "--endpoint-url", self.backend.url]

    def _new_dispatcher(self) -> subprocess.Popen[str]:
        return dispatcher(self.spool, *self._arguments(), "--follow", "--batch-size", str(BATCH))

    def round(self) -> None:
        """Let one thing go wrong, while some answers of the backend do, too."""
        faults: dict[str, Callable[[], None]] = {
            "proxy killed": self.kill_proxy,
            "dispatcher killed": self.kill_dispatcher,
            "both killed": self.kill_both,
            "stream deleted": self.backend.delete_streams,
            "disk full": self.fill_disk,
            "clock steps": self.step_clock,
            "segment torn": self.tear,
            "line corrupted": self.corrupt,
            "cursor lost or corrupted": self.lose_cursor,
            "second dispatcher": self.second_dispatcher,
        }
        for _ in range(self.random.randint(0, 2)):
            self.backend.faults.append(self.random.choice(CLEAN + AMBIGUOUS))
        name = self.random.choice(list(faults))
        self.happened[name] += 1
        faults[name]()
        # Mostly the dispatcher gets to work before the next thing goes wrong.
        wanted = len(self.backend.puts) + self.random.randint(0, 3)
        deadline = time.monotonic() + ROUND_SECONDS
        while len(self.backend.puts) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 0.1))

    def kill_proxy(self) -> None:
        self.proxy.kill()
        self.proxy = self._new_proxy()

    def kill_dispatcher(self) -> None:
        self._end_dispatcher()
        self.dispatcher = self._new_dispatcher()

    def _end_dispatcher(self) -> None:
        self.dispatcher.kill()
        self.dispatcher.wait(PATIENCE)
        self.bound += BATCH

    def kill_both(self) -> None:
        self.proxy.kill()
        self.kill_dispatcher()
        self.proxy = self._new_proxy()

    def fill_disk(self) -> None:
        """Let nothing be written for a while: neither openings nor events."""
        self.proxy.limit_files(1)
        time.sleep(self.random.uniform(0.05, 0.3))
        self.proxy.limit_files(-1)

    def step_clock(self) -> None:
        """End the proxy in order and start it under another time, mostly an earlier one."""
        self.clock = self.random.uniform(-7200, 600)
        self.proxy.stop()
        self.proxy = self._new_proxy()

    def tear(self) -> None:
        """Play a power failure in the midst of a write: half a line behind what a dead proxy wrote."""
        self.proxy.kill()
        if paths := segments(self.spool):
            last = max(paths, key=lambda path: path.stat().st_mtime_ns)
            with last.open("ab") as file:
                file.write(b'{"schema":1,"type":"llm_proxy_usage","event_id":"torn","outc')
        self.proxy = self._new_proxy()

    def corrupt(self) -> None:
        """Change one byte in the midst of a segment, perhaps one that is being written or has been read."""
        for path in self.random.sample(found := segments(self.spool), len(found)):
            try:
                lines = path.read_bytes().split(b"\n")[:-1]
            except FileNotFoundError:
                continue
            whole = [n for n, line in enumerate(lines) if line.startswith(b'{"schema"')]
            if not whole:
                continue
            chosen = self.random.choice(whole[-10:])  # young ones, which are mostly not delivered yet
            self.damaged.add(json.loads(lines[chosen])["event_id"])
            descriptor = os.open(path, os.O_WRONLY)
            os.pwrite(descriptor, b"#", sum(len(line) + 1 for line in lines[:chosen]))
            os.close(descriptor)
            return

    def lose_cursor(self) -> None:
        self._end_dispatcher()
        path = cursor.path_of(self.spool, "cloudwatch")
        if path.exists():
            self.bound += sum(each.read_bytes().count(b"\n") for each in segments(self.spool))
            if self.random.random() < 0.5:
                path.unlink()
            else:
                data = bytearray(path.read_bytes())
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
                path.write_bytes(data)
        self.dispatcher = self._new_dispatcher()

    def second_dispatcher(self) -> None:
        """Start a second one, as by mistake: it waits, and says for whom."""
        deadline = time.monotonic() + PATIENCE
        while cursor.holder(self.spool, "cloudwatch") != self.dispatcher.pid and time.monotonic() < deadline:
            time.sleep(0.05)  # the first one is still starting
        second = dispatcher(self.spool, *self._arguments(), "--follow", stderr=subprocess.PIPE)
        assert second.stderr
        said = second.stderr.readline()
        if "at work in another process" not in said:
            self.problems.append(f"a second dispatcher said {said!r}")
        second.kill()
        second.wait(PATIENCE)

    def finish(self) -> dict[str, Any]:
        """End everything in order, drain, prove; the account."""
        self.proxy.stop()
        self._end_dispatcher()
        self.backend.faults.clear()
        for _ in range(2):  # the first closes what died, the second sends that
            self._run("dispatch", *self._arguments(), "--once", "--batch-size", str(BATCH))
        to = ["--since", "1d", "--slack", "86400", "--sink", "cloudwatch", "--log-group", GROUP]
        said = self._run(
            "prove", *to, "--region", "eu-central-1", "--endpoint-url", self.backend.url, "--json"
        )
        proof = json.loads(said)
        times = Counter(
            event["event_id"] for put in self.backend.delivered() for event in put if _is_call(event)
        )
        lost = self.accepted - times.keys() - self.damaged
        buried = self.accepted & self.damaged - times.keys()
        if unaccounted := [id_ for id_ in buried if id_ not in self._dead_letters()]:
            self.problems.append(f"{len(unaccounted)} damaged events are neither delivered nor dead letters")
        self.problems += self._disorder()
        duplicates = sum(times.values()) - len(times)
        bound = self.bound + BATCH * self.backend.ambiguous
        return {
            "calls": len(self.accepted),
            "lost": len(lost),
            "damaged_on_disk": len(self.damaged),
            "dead_letters_of_those": len(buried),
            "died_with_their_proxy": self._died(),
            "duplicates": duplicates,
            "duplicates_allowed": bound,
            "proof_complete": proof["complete"],
            "problems": self.problems,
            "happened": dict(sorted(self.happened.items())),
            "answers": dict(sorted(self.backend.happened.items())),
            "ok": not lost and not self.problems and proof["complete"] and duplicates <= bound,
        }

    def _run(self, verb: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own command
            command(self.spool, verb, *arguments),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        # A drain that put something aside ends with 1; what was put aside is held against what was damaged.
        if done.returncode and "put aside as dead letters" not in done.stderr:
            self.problems.append(f"llmproxy {verb} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout

    def _dead_letters(self) -> str:
        path = self.spool / "dead" / "cloudwatch.jsonl"
        return path.read_text() if path.exists() else ""

    def _died(self) -> int:
        events = {
            e["event_id"] for put in self.backend.delivered() for e in put if e.get("outcome") == "proxy_died"
        }
        return len(events)

    def _disorder(self) -> list[str]:
        """Give what came for the first time must have come in the order of its writer."""
        seen: set[str] = set()
        last: dict[str, int] = {}
        problems = []
        for put in self.backend.delivered():
            for event in put:
                if event["event_id"] in seen or not isinstance(event.get("seq"), int):
                    continue
                seen.add(event["event_id"])
                writer, number = event["writer"], event["seq"]
                if number < last.get(writer, 0):
                    problems.append(f"{writer}: {number} came after {last[writer]}")
                last[writer] = max(number, last.get(writer, 0))
        return problems[:5]


def _is_call(event: dict[str, Any]) -> bool:
    return event.get("type") == "llm_proxy_usage"


@click.command()
@click.option("--rounds", default=60, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def faults(rounds: int, seed: int, as_json: bool) -> None:
    """Kill, tear, throttle, delete and lose at random; then account for every call.

    A stand-in for the proxy (its journal and spool, without mitmproxy) opens and records calls; the real
    dispatcher sends them to a strict CloudWatch server. Ends with `llmproxy prove`. Exit code 1 where an
    event is lost, there are more duplicates than allowed, or the order within a writer is broken.
    """
    console = Console(stderr=True)
    begun = time.monotonic()
    backend = Backend(GROUP)
    with tempfile.TemporaryDirectory() as folder, backend:
        course = Course(Path(folder), backend, seed)
        try:
            for _ in track(range(rounds), f"seed {seed}", console=console, disable=not console.is_terminal):
                course.round()
            account = {"rounds": rounds, "seed": seed, **course.finish()}
        finally:
            course.proxy.process.kill()
            course.dispatcher.kill()
    account["seconds"] = round(time.monotonic() - begun)
    if as_json:
        click.echo(json.dumps(account))
    else:
        for name, value in account.items():
            click.echo(f"{name:24} {value}")
    click.get_current_context().exit(0 if account["ok"] else 1)
