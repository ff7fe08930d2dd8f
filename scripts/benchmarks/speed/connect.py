"""Measure calls that each come over a new connection, in both ways in."""

from __future__ import annotations

import click

from scripts.benchmarks.speed.http import Cell, in_turn
from scripts.benchmarks.speed.results import finish, json_option
from scripts.benchmarks.speed.session import Row, Session, against_option, session

CONNECTIONS, BODY = 8, 2048
WAYS = {False: "OPENAI_BASE_URL", True: "HTTPS_PROXY"}


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2, 600), default=2.5, show_default=True, help="Of each round."
)
@against_option()
@json_option
def connect(*, rounds: int, seconds: float, against: tuple[str, ...], as_json: bool) -> None:
    """Requests a second with a connection for each: by base URL, and by CONNECT with TLS."""
    with session(against) as current:
        rows = new_connections(current, rounds=rounds, seconds=seconds)
    finish({"connect": rows}, [current], as_json=as_json)


def new_connections(current: Session, *, rounds: int, seconds: float) -> list[Row]:
    """Measure both ways in, eight clients at a time. Other gateways have only the first."""
    rows: list[Row] = []
    for tunnel, way in WAYS.items():
        current.say(f"new connections, {way}")
        contenders = [*current.bare(tunnel=tunnel), current.mitmdump.bundle(tunnel=tunnel)]
        with current.started([*contenders, *([] if tunnel else current.peers())]) as started:
            cell = Cell(CONNECTIONS, BODY, rounds, seconds, keep=False)
            rows += [{"way": way, **row} for row in in_turn(current, started, cell)]
    return rows
