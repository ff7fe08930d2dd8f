"""Measure all that docs/performance.md tells, and put it into that page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click

from scripts.benchmarks.speed import connect, http, interference, memory, results, startup, stream
from scripts.benchmarks.speed.contenders import ROOT
from scripts.benchmarks.speed.session import Row, Session, against_option, progress, session

RESULTS = ROOT / "data" / "bench.json"
Measurement = Callable[[Session, float, int], list[Row]]
"""Measures one table, with its times multiplied, and with so many proxies of `serve`."""


def _requests(current: Session, pace: float, workers: int) -> list[Row]:
    return http.requests(
        current,
        [(16, 2048)],
        ("none", "expected", "strict", "owned"),
        ("llm_workers=thread", "llm_trim=false"),
        rounds=4,
        seconds=2 * pace,
        workers=workers,
    )


def _connections(current: Session, pace: float, _: int) -> list[Row]:
    cells = [(count, size) for size in (2048, 200 * 1024) for count in (1, 16, 64, 256)]
    return http.requests(current, cells, ("none",), rounds=2, seconds=1.5 * pace)


MEASUREMENTS: dict[str, Measurement] = {
    "requests": _requests,
    "connections": _connections,
    "connect": lambda current, pace, _: connect.new_connections(current, rounds=3, seconds=2 * pace),
    "streams": lambda current, _, __: stream.streamed(current, (20, 60, 200), stream.CODINGS, rounds=2),
    "interference": lambda current, pace, _: interference.waits(
        current, ("llm_workers=process", "llm_workers=thread"), seconds=5 * pace
    ),
    "memory": lambda current, pace, _: memory.remembered(
        current, calls=10_000, seconds=10 * pace, streams=100
    ),
    "startup": lambda current, _, __: startup.starts(current, rounds=2),
}


@click.command(name="all")
@against_option()
@click.option(
    "--workers", type=click.IntRange(2, 64), default=2, show_default=True, help="Of `llmproxy serve`."
)
@click.option(
    "--only", type=click.Choice(list(MEASUREMENTS)), multiple=True, help="Only these tables; may be repeated."
)
@click.option(
    "--pace",
    type=click.FloatRange(0.05, 20),
    default=0.5,
    show_default=True,
    help="Multiply the times of rounds; 1 is steadier, and takes longer than 20 minutes beside both peers.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=RESULTS,
    show_default="data/bench.json",
    help="Keep the results here, as JSON, after each table.",
)
@results.json_option
def everything(
    *, against: tuple[str, ...], workers: int, only: tuple[str, ...], pace: float, output: Path, as_json: bool
) -> None:
    """Measure all that docs/performance.md tells, in less than 20 minutes on two idle cores.

    Prints the tables in Markdown; `scripts/bench render` puts them into the page.
    """
    begun, say = time.monotonic(), progress()
    sections: dict[str, list[Row]] = {}
    sessions: list[Session] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in MEASUREMENTS.items():
        if only and name not in only:
            continue
        say(f"== {name}")
        with session(against, say) as current:
            sessions.append(current)
            sections[name] = measure(current, pace, workers)
        found = results.document(sections, sessions, time.monotonic() - begun)
        output.write_text(json.dumps(found, indent=1) + "\n")
    say(f"done; the results are in {output}")
    click.echo(json.dumps(found, indent=1) if as_json else results.markdown(found))


@click.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=RESULTS, required=False
)
@click.option(
    "--page",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Replace its tables, such as docs/performance.md's.",
)
def render(file: Path, page: Path | None) -> None:
    """Print the tables of results, or put them into a page that has a marker for each."""
    found = json.loads(file.read_text())
    if page is None:
        click.echo(results.markdown(found))
        return
    try:
        page.write_text(results.in_page(page.read_text(), found))
    except ValueError as error:
        raise click.ClickException(f"{page}: {error}") from error
