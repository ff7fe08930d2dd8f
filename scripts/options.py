"""Share what the commands need: where store and spool are, how values are written, how errors are told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from store.audit.origin import of_process
from store.core import configuration, times
from store.core.errors import Invalid, NotFound, SpoolError, StoreError
from store.database import location
from store.database.location import StoreLocation

if TYPE_CHECKING:
    from addons.recording.cost import Prices
    from store.tokens.store import TokenStore

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_SPOOL = Path("data/spool")


@dataclass(slots=True)
class Places:
    """Says where the store and the spool are; the nearest answer to the verb counts."""

    store: StoreLocation = field(default_factory=lambda: StoreLocation.of(location.DEFAULT))
    spool: Path = DEFAULT_SPOOL
    store_given: bool = False
    """It tells whether somebody said where the store is: then it was there once, and a new one would hide
    that."""
    actor: str | None = None
    """It says who acts, as the user says (--actor)."""

    @classmethod
    def configured(cls) -> Places:
        """Give those that ``llmproxy.toml`` names, else the defaults. Raises Invalid."""
        found, file = cls(), configuration.load()
        if store := file.place("store"):
            found.store, found.store_given = StoreLocation.of(store), True
        if spool := file.place("spool"):
            found.spool = Path(spool)
        return found


class Location(click.ParamType[StoreLocation]):
    """Reads where a store is."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StoreLocation:
        try:
            return StoreLocation.of(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Folder(click.ParamType[Path]):
    """Reads a path, in which ``~`` is one's home."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002
        return Path(value).expanduser()


def places(command: Command) -> Command:
    """Add --store and --spool to a command, which gets them as `places`."""

    @click.option(
        "--store",
        type=Location(),
        envvar=location.VARIABLE,
        help=f"Token store: a path, or the URL of a database.  [default: {location.DEFAULT}]",
    )
    @click.option(
        "--spool",
        type=Folder(),
        envvar="LLMPROXY_SPOOL",
        help=f"Folder of events.  [default: {DEFAULT_SPOOL}]",
    )
    @click.pass_context
    @functools.wraps(command)
    def wrapped(
        ctx: click.Context, /, *args: Any, store: StoreLocation | None, spool: Path | None, **rest: Any
    ) -> Any:
        with told():
            found = ctx.find_object(Places) or Places.configured()
        ctx.obj = found
        for name, value in (("store", store), ("spool", spool)):
            source = ctx.get_parameter_source(name)
            inherited = ctx.parent is not None and source is not click.core.ParameterSource.COMMANDLINE
            if value is not None and not inherited:
                setattr(found, name, value)
                found.store_given |= name == "store"
        with told():
            return command(*args, places=found, **rest)

    return wrapped  # type: ignore[return-value]


@contextmanager
def told() -> Iterator[None]:
    """Report an expected failure on one line, with the right exit code."""
    try:
        yield
    except Invalid as error:
        raise click.UsageError(str(error)) from error
    except (StoreError, SpoolError) as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:
        raise  # `| head` has seen enough: click ends quietly
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from error


@contextmanager
def open_store(places: Places, *, create: bool = False) -> Iterator[TokenStore]:
    """Open the token store, closed at the end.

    It is made only where `create` says so, so that a typo is noticed.
    """
    from store.tokens.store import TokenStore  # noqa: PLC0415 - its engines take 0.2 s to load

    try:
        store = TokenStore.open(places.store, create=create, origin=of_process(places.actor))
    except NotFound as error:
        if places.store_given:
            raise
        raise NotFound(
            f"there is no token store at {places.store}; `llmproxy project create` makes one."
        ) from error
    try:
        yield store
    finally:
        store.close()


class PriceFile(click.ParamType["Prices"]):
    """Reads the path of a file of prices, which is read and checked at once."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prices:
        from addons.recording.cost import BadPrices, read_prices  # noqa: PLC0415 - prices take 0.2 s to load

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return read_prices(Path(value))
        except BadPrices as error:
            self.fail(f"{error}.", param, ctx)


prices_option = click.option(
    "--prices",
    type=PriceFile(),
    envvar="LLMPROXY_PRICES",
    show_envvar=True,
    help="File of prices that go before those of genai-prices.",
)


class Expiry(click.ParamType[datetime | str]):
    """Reads a time to come: from now (``30d``, ``12h``), a date, a time (RFC 3339), or ``never``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | str:
        if isinstance(value, datetime):
            return value
        try:
            return times.coming(value) or times.NEVER
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[timedelta]):
    """Reads a length of time, such as ``90d`` or ``1h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return times.duration(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """Reads ``KEY=VALUE``."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r}: write KEY=VALUE.", param, ctx)
        return key, text
