"""Hold what one measurement needs: a folder, the upstream, who takes part, and what it says on its way."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from scripts.benchmarks.speed.contenders import Contender, Mitmdump, Running, beside, direct, running
from scripts.benchmarks.speed.peers import PACKAGES, peer
from scripts.benchmarks.speed.upstream import upstream

Row = dict[str, Any]
PEERS = tuple(PACKAGES)
AGAINST = ("bare", *PEERS)
SETTLE_SECONDS = 0.3
"""After a load: what finished calls still cost is counted with them."""


class Against(click.ParamType[tuple[str, ...]]):
    """Reads names of `AGAINST` with commas."""

    name = "names"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(filter(None, value.split(",")))
        if unknown := [name for name in names if name not in AGAINST]:
            self.fail(f"there is no {unknown[0]!r}; choose of {', '.join(AGAINST)}.", param, ctx)
        return names


def against_option(default: str = "bare") -> Callable[[Any], Any]:
    """Give the option ``--against``."""
    return click.option(
        "--against",
        type=Against(),
        default=default,
        show_default=True,
        metavar="NAME[,NAME]",
        help=f"Beside which others: {', '.join(AGAINST)}. Gateways are installed by name, once.",
    )


@dataclass
class Session:
    """Runs contenders in turn, and remembers who they were."""

    folder: Path
    port: int
    against: Sequence[str]
    say: Callable[[str], None]
    mitmdump: Mitmdump
    contenders: dict[str, Contender] = field(default_factory=dict)
    """By name: what docs say of each."""
    problems: list[str] = field(default_factory=list)
    """It is what could not be measured, and why."""

    def direct(self) -> Contender:
        return direct(self.port)

    def bare(self, **how: bool) -> list[Contender]:
        """Give bare mitmdump, if it takes part."""
        return [self.mitmdump.bare(**how)] if "bare" in self.against else []

    def peers(self) -> list[Contender]:
        """Give the other gateways that take part and can be installed."""
        found = []
        for name in PEERS:
            if name in self.against:
                try:
                    found.append(peer(name, self.folder, self.port))
                except click.ClickException as error:
                    self._complain(error.message)
        return found

    @contextlib.contextmanager
    def started(self, contenders: Sequence[Contender]) -> Iterator[list[Running]]:
        """Start all; one that does not start is left out and named."""
        with contextlib.ExitStack() as stack:
            found = []
            for one in contenders:
                self.say(f"starting {one.name}")
                try:
                    found.append(stack.enter_context(running(one)))
                    self.contenders[one.name] = one
                except click.ClickException as error:
                    self._complain(error.message)
            yield found

    @contextlib.contextmanager
    def trying(self, who: Running) -> Iterator[None]:
        """Do one measurement; where it fails, name it and go on."""
        try:
            yield
        except (click.ClickException, OSError, EOFError) as error:
            self._complain(f"{who.contender.name}: {getattr(error, 'message', None) or repr(error)}")

    def _complain(self, text: str) -> None:
        self.problems.append(text)
        self.say(f"FAILED: {text}")


@contextlib.contextmanager
def session(against: Sequence[str], say: Callable[[str], None] | None = None) -> Iterator[Session]:
    """Open a folder and an upstream; the first core is left to what is measured."""
    with tempfile.TemporaryDirectory() as name, beside(), upstream() as port:
        folder = Path(name)
        yield Session(folder, port, against, say or progress(), Mitmdump(folder, port))


def progress() -> Callable[[str], None]:
    """Give a function that says on standard error what is being done, and since when."""
    begun = time.monotonic()

    def say(text: str) -> None:
        passed = int(time.monotonic() - begun)
        click.echo(f"[{passed // 60:02}:{passed % 60:02}] {text}", err=True)

    return say


def at(values: Sequence[float], percent: int) -> float:
    """Give a percentile of some values, in milliseconds of seconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000
