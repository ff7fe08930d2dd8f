"""Show what :mod:`scripts.benchmarks.recorded.accuracy` found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from addons.openai.tokens import Count
from scripts.benchmarks.recorded.recordings import Recording


@dataclass(slots=True)
class Rate:
    """Counts how many of `n` figures were right, nearly right, and within 2 %."""

    n: int = 0
    exact: int = 0
    within_1: int = 0
    within_2_percent: int = 0

    def add(self, counted: int | None, reported: int) -> None:
        off = abs((counted or 0) - reported)
        self.n += 1
        self.exact += off == 0
        self.within_1 += off <= 1
        self.within_2_percent += off <= 0.02 * reported

    @property
    def share(self) -> float:
        return self.exact / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Counted:
    """Holds one call, counted without its report."""

    recording: Recording
    endpoint: str
    model: str | None
    kind: str
    answer_kind: str
    features: tuple[str, ...]
    reported: tuple[int, int]
    count: Count
    seconds: float
    left_out: str | None
    """It says why it does not count for the requirements."""


@dataclass(slots=True)
class Line:
    """Holds a requirement and what was reached."""

    name: str
    wanted: float
    rate: Rate

    @property
    def passed(self) -> bool:
        return self.rate.n > 0 and self.rate.share >= self.wanted


@dataclass(slots=True)
class Report:
    lines: list[Line] = field(default_factory=list)
    codings: dict[str, Rate] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """Exchanges whose reported usage was read differently."""
    tables: dict[str, dict[str, Rate]] = field(default_factory=dict)
    misses: list[dict[str, Any]] = field(default_factory=list)
    below: list[Line] = field(default_factory=list)
    """Families of models that are below the line of their kind of call; docs/counting.md says why."""
    left_out: dict[str, int] = field(default_factory=dict)
    speed: dict[str, int] = field(default_factory=dict)


def as_object(report: Report) -> dict[str, Any]:
    return {
        "passed": all(line.passed for line in report.lines),
        "requirements": [
            {"name": line.name, "wanted": line.wanted, "passed": line.passed, **asdict(line.rate)}
            for line in report.lines
        ],
        "read_wrong": report.wrong,
        "tables": {
            title: {name: asdict(rate) for name, rate in rows.items()}
            for title, rows in report.tables.items()
        },
        "below_their_line": [
            {"name": line.name, "wanted": line.wanted, **asdict(line.rate)} for line in report.below
        ],
        "left_out": report.left_out,
        "misses": report.misses,
        "speed": report.speed,
    }


def show(report: Report, *, misses: bool) -> None:
    console = Console(width=None if Console().is_terminal else 140)
    for title, rows in report.tables.items():
        console.print(_table(title, rows))
    if misses:
        for miss in report.misses:
            click.echo(json.dumps(miss, ensure_ascii=False))
    for key in report.wrong:
        click.echo(f"reported usage read wrong: {key}")
    speed = report.speed
    click.echo(
        f"counting takes {speed['median_microseconds_per_call']} µs a call (median), "
        f"and goes through long prose at {speed['prose_megabytes_per_second']} MB/s\n"
    )
    for family in report.below:
        click.echo(f"below its line: {_result(family)}")
    for line in report.lines:
        click.echo(f"{'PASS' if line.passed else 'FAIL'}  {_result(line)}")


def _result(line: Line) -> str:
    rate = line.rate
    reached = f"{rate.exact} of {rate.n} exact ({100 * rate.share:.1f} %"
    return f"{line.name}: {reached}, wanted {100 * line.wanted:.0f} %)"


def _table(title: str, rows: Mapping[str, Rate]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", "n", "exact", "", "within 1", "within 2 %"):
        table.add_column(column, justify="right" if column else "left")
    for name, rate in rows.items():
        share = f"{100 * rate.share:.1f} %"
        table.add_row(
            name, str(rate.n), str(rate.exact), share, str(rate.within_1), str(rate.within_2_percent)
        )
    return table
