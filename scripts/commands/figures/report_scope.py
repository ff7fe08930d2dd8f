"""Say what a report is about: its time, its store, and which calls are not in it yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo

import click

from scripts.commands.figures.report_periods import bounds_of
from scripts.options import Places
from store.database.engine import Connection
from store.database.engines import engine_of
from store.spool import usage_checkpoint


def between(
    *, since: datetime | None, until: datetime | None, period: str | None, zone: tzinfo
) -> tuple[datetime | None, datetime | None]:
    """Give the bounds of what is asked for. Raises UsageError."""
    if period is None:
        return since, until
    if since or until:
        raise click.UsageError("--period stands in place of --since and --until.")
    return bounds_of(period, datetime.now(UTC), zone)


@contextmanager
def connected(places: Places) -> Iterator[Connection]:
    """Give a connection to the store, closed at the end."""
    connection = engine_of(places.store).connect()
    try:
        yield connection
    finally:
        connection.close()


def tell_what_is_left_out(places: Places) -> None:
    """Warn of proxies that were killed, or whose store was away at their end."""
    if writers := usage_checkpoint.left_behind(places.spool):
        click.echo(
            f"The last calls of {len(writers)} proxies that ended are not in this yet; a running proxy "
            f"counts them within a minute (spool {places.spool}).",
            err=True,
        )
