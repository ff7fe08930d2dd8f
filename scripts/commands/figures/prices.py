"""Run ``llmproxy prices``: show the prices that calls are charged, and take a newer list of them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import urllib3

from addons.openai.pricing import price_file
from addons.openai.pricing.price_changes import Change, Comparison, compare
from addons.openai.pricing.price_file import BadPrices
from addons.openai.pricing.price_list import rate_text
from addons.openai.pricing.prices import Missing, Prices
from addons.recording.cost import BUNDLED
from addons.recording.price_watch import read_list
from scripts.commands.spool import Moment
from scripts.options import Places, open_store, places, prices_option
from scripts.output import show, show_all
from store.core.errors import NotFound, StoreError
from store.core.urls import split_url
from store.prices.lists import PriceLists
from store.usage.reports import models_of_calls

LARGEST = 64 * 2**20
"""Bytes of a list; genai-prices' has about one and a half million."""
SECONDS = 30.0
"""It says how long a server may take."""
FACTOR = Decimal(3)
"""No price may change by more than this factor unless the change is accepted."""
SHOWN = 20
"""Changes that are printed."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def prices() -> None:
    """Show, check and update the prices that calls are charged.

    In force are, in this order: your own file (llm_prices), the newest list in the store, and what comes with
    the program. A new list holds in every proxy on the store within seconds, without a restart.
    """


@prices.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--name", help="What `price_source` of events calls the list.  [default: its file's name]")
@click.option(
    "--max-factor",
    type=click.FloatRange(min=1),
    default=float(FACTOR),
    show_default=True,
    help="Refuse a list in which a price changes by more than this factor.",
)
@click.option("--accept", is_flag=True, help="Take such a list all the same.")
@click.option("--dry-run", is_flag=True, help="Only compare; change nothing.")
@JSON
@places
def update(
    *,
    source: str,
    name: str | None,
    max_factor: float,
    accept: bool,
    dry_run: bool,
    as_json: bool,
    places: Places,
) -> None:
    """Put a newer price list into the store, for every proxy on it.

    FILE or URL holds genai-prices' data, a file in the form of llm_prices, or LiteLLM's model map. A model
    that the list does not name keeps its price. Prices in a form that this version does not know are left
    out, and named.
    """
    text = _fetch(source) if "://" in source else _read(Path(source))
    try:
        content, left_out = price_file.normalise(text)
        named = f"prices/{name or _short(source)}@{datetime.now(UTC):%Y-%m-%d}"
        listed = price_file.parse(content, named)
    except BadPrices as error:
        raise click.ClickException(f"{source}: {error}.") from error
    with open_store(places) as store:
        before = in_force(places, BUNDLED)
        found = compare(before, content, before.with_list(listed), at=datetime.now(UTC))
        large = [change for change in found.changes if change.factor > Decimal(str(max_factor))]
        _tell(found, left_out, large, as_json=as_json)
        if large and not accept:
            raise click.ClickException(
                f"{len(large)} prices change by more than the factor {max_factor:g}, the first is "
                f"{_line(large[0])}; nothing was changed. If they are right, run it again with --accept."
            )
        if dry_run:
            return
        counts = {"models": found.models, "new": len(found.new), "changed": len(found.changes)}
        made = PriceLists(store.connection, store.audit).add(named, _origin(source), content, counts)
    show({**made.as_json(), **counts, "left_out": len(left_out)}, as_json=as_json)


@prices.command(name="show")
@click.argument("model")
@click.option("--host", default="api.openai.com", show_default=True, help="The host of the calls.")
@click.option("--tier", help="Service tier: flex, priority, batch.")
@click.option("--at", type=Moment(), help="The prices that held then.")
@prices_option
@JSON
@places
def show_(
    *,
    model: str,
    host: str,
    tier: str | None,
    at: datetime | None,
    prices: Prices | None,
    as_json: bool,
    places: Places,
) -> None:
    """Show what a call of MODEL is charged, and where each price is from. Ends with 1 where there is none."""
    found = in_force(places, prices or BUNDLED).find(model, at=at or datetime.now(UTC), tier=tier, host=host)
    if isinstance(found, Missing):
        raise click.ClickException(
            f"{found.text}; `llmproxy prices update` takes a newer list, option llm_prices your own prices."
        )
    rates = {key: rate_text(rate) for key, rate in sorted(found.rates.items())}
    show({"model": model, "provider": found.provider, "price_source": found.source, **rates}, as_json=as_json)


@prices.command()
@click.option("--since", type=Moment(), help="Models that were called since then.  [default: 30d]")
@prices_option
@JSON
@places
def check(*, since: datetime | None, prices: Prices | None, as_json: bool, places: Places) -> None:
    """List the models that were called and have no price now. Ends with 1 where there are any.

    Of models whose price has become known since, `llmproxy reprice` prices the earlier calls.
    """
    now = datetime.now(UTC)
    known = in_force(places, prices or BUNDLED)
    with open_store(places) as store:
        called = models_of_calls(store.connection, since or now - timedelta(days=30))
    rows = []
    for model, calls, unpriced in called:
        found = known.find(model, at=now, tier=None)
        if isinstance(found, Missing):
            rows.append({"model": model, "calls": calls, "unpriced": unpriced, "state": found.code})
        elif unpriced:
            rows.append({"model": model, "calls": calls, "unpriced": unpriced, "state": "priced since"})
    show_all(
        rows,
        ("model", "calls", "unpriced", "state"),
        as_json=as_json,
        nothing="Every model that was called has a price.",
    )
    if any(row["state"] != "priced since" for row in rows):
        raise click.exceptions.Exit(1)


def in_force(places: Places, own: Prices) -> Prices:
    """Give the prices that a proxy on the store uses, with `own` as its file."""
    try:
        with open_store(places) as store:
            listed = read_list(store.connection)
    except NotFound:
        return own
    except BadPrices as error:
        raise StoreError(f"{error}; put another list in its place with `llmproxy prices update`.") from error
    return own if listed is None else own.with_list(listed)


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: byte {error.start}: not UTF-8.") from error


def _fetch(url: str) -> str:
    """Get a list from a server, by HTTPS unless it is on this machine: what is charged depends on it."""
    parts = split_url(url)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    ):
        raise click.UsageError(f"{_origin(url)}: only https:// is read (http:// on this machine).")
    began = time.monotonic()
    try:
        pool = urllib3.PoolManager(timeout=urllib3.Timeout(SECONDS), retries=urllib3.Retry(2, redirect=3))
        answer = pool.request("GET", url, preload_content=False)
        parts_read = bytearray()
        for piece in answer.stream(2**16, decode_content=True):
            parts_read += piece
            if len(parts_read) > LARGEST or time.monotonic() - began > 2 * SECONDS:
                raise click.ClickException(f"{_origin(url)}: more than {LARGEST >> 20} MiB, or too slow.")
    except urllib3.exceptions.HTTPError as error:
        raise click.ClickException(f"{_origin(url)}: {error}.") from error
    if answer.status != 200:
        raise click.ClickException(f"{_origin(url)}: the server answered {answer.status}.")
    try:
        return parts_read.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{_origin(url)}: byte {error.start}: not UTF-8.") from error


def _origin(source: str) -> str:
    """Give a source without what may be secret in a URL: user, password, query."""
    parts = split_url(source)
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.netloc else source


def _short(source: str) -> str:
    """Give the name of a source's file, as far as it is good for a name."""
    name = Path(split_url(source).path).name if "://" in source else Path(source).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60] or "list"


def _tell(found: Comparison, left_out: list[str], large: list[Change], *, as_json: bool) -> None:
    if as_json:
        return
    shown = large or found.changes
    for change in shown[:SHOWN]:
        click.echo(_line(change), err=True)
    if len(shown) > SHOWN:
        click.echo(f"... and {len(shown) - SHOWN} more changes.", err=True)
    for text in left_out[:SHOWN]:
        click.echo(f"left out: {text}", err=True)
    if len(left_out) > SHOWN:
        click.echo(f"... and {len(left_out) - SHOWN} more were left out.", err=True)


def _line(change: Change) -> str:
    return f"{change.provider} {change.model}: {change.price} {change.before:f} -> {change.after:f}"
