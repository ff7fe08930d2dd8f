"""What the commands share: where the store and the spool are, how values are written, how errors are told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from store import location, moments
from store.audit.origin import of_process
from store.errors import Invalid, SpoolError, StoreError
from store.location import StoreLocation
from store.tokens import TokenStore

if TYPE_CHECKING:
    from addons.cost import Prices

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_SPOOL = Path("data/spool")


@dataclass(slots=True)
class Places:
    """Where the store and the spool are; the nearest answer to the verb counts."""

    store: StoreLocation = field(default_factory=lambda: StoreLocation.of(location.DEFAULT))
    spool: Path = DEFAULT_SPOOL
    actor: str | None = None
    """Who acts, as the user says (--actor)."""


class Location(click.ParamType[StoreLocation]):
    """Where a store is."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StoreLocation:
        try:
            return StoreLocation.of(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Folder(click.ParamType[Path]):
    """A path, in which ``~`` is one's home."""

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
        found = ctx.ensure_object(Places)
        for name, value in (("store", store), ("spool", spool)):
            source = ctx.get_parameter_source(name)
            inherited = ctx.parent is not None and source is not click.core.ParameterSource.COMMANDLINE
            if value is not None and not inherited:
                setattr(found, name, value)
        with told():
            return command(*args, places=found, **rest)

    return wrapped  # type: ignore[return-value]


@contextmanager
def told() -> Iterator[None]:
    """Tell an expected failure on one line, with the right exit code."""
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
    """The token store, closed at the end; made only where `create` says so, so that a typo is noticed."""
    store = TokenStore.open(places.store, create=create, origin=of_process(places.actor))
    try:
        yield store
    finally:
        store.close()


class PriceFile(click.ParamType["Prices"]):
    """The path of a file of prices, which is read and checked at once."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prices:
        from addons.cost import BadPrices, read_prices  # noqa: PLC0415 - prices take 0.2 s to load

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
    """A time from now (``30d``, ``12h``), a date, a time (RFC 3339), or ``never``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | str:
        if isinstance(value, datetime):
            return value
        try:
            return moments.expiry(value) or moments.NEVER
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[timedelta]):
    """A length of time, such as ``90d`` or ``1h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return moments.duration(value)
        except Invalid as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``."""

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
