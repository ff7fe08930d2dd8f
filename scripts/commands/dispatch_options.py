"""Read the settings of ``llmproxy dispatch``: flags, then the environment, then a TOML file.

click does the reading. This module gives it an option for everything that any sink can be told, hands it the
file as its map of defaults, and refuses what nobody knows.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from dispatch import options
from dispatch.catalog import RESERVED, BadSink, kinds
from dispatch.errors import Misconfigured
from dispatch.options import Kind, Option
from dispatch.privacy import Guarded, Privacy
from dispatch.redact import redactor
from dispatch.supervisor import Job
from store.core import configuration
from store.core.configuration import meant
from store.core.errors import Invalid

PREFIX = "DISPATCHER_"
WITHOUT_EFFECT = frozenset({"DISPATCHER_BUFFER", "DISPATCHER_DETACH"})
"""It is that of the reference system: nothing is buffered outside the spool, and systemd detaches."""
ONE_SINK_ONLY = ("DISPATCHER_ENDPOINT", "LLM_PROXY_API_KEY")
"""Variables of the reference system that do not name their sink."""
NOT_IN_A_FILE = frozenset({"config", "check", "as_json", "store", "spool", "help"})


class Typed(click.ParamType[Any]):
    """Says the kind of value of one option."""

    def __init__(self, option: Option) -> None:
        self._convert = option.kind
        self.name = "text" if option.kind is str else getattr(option.kind, "__name__", "value")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._convert(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class SinkOption(click.Option):
    """Is an option of one sink."""

    def __init__(self, sink: str, option: Option, *, hidden: bool = False) -> None:
        flag = f"--{sink}-{option.name.replace('_', '-')}"
        self.sink = sink
        super().__init__(
            [parameter(sink, option.name), *([option.flag] if option.flag else []), flag],
            type=None if option.kind is options.boolean else Typed(option),
            is_flag=option.kind is options.boolean,
            default=option.default,
            show_default=option.default not in (None, False, ""),
            envvar=[variable(sink, option.name), *option.env],
            show_envvar=True,
            help=option.help,
            hidden=hidden,
        )


OWN = (
    Option("include_content", "", options.boolean),
    Option("include_client", "", options.boolean),
    Option("batch_size", "", options.whole(1, 10_000)),
    Option("consumer", ""),
)
"""It is what may differ from sink to sink, although there is an option for all of them. `RESERVED` by
name."""
assert tuple(option.name for option in OWN) == RESERVED


def parameter(sink: str, option: str) -> str:
    """Give the name under which click hands a sink's option to the command."""
    return f"{sink}_{option}".replace("-", "_")


def variable(sink: str, option: str) -> str:
    """Give the variable of a sink's option."""
    return f"{PREFIX}{sink}_{option}".replace("-", "_").upper()


class DispatchCommand(click.Command):
    """Takes the options of every sink, in a section of the help for each."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._sinks: dict[str, Kind] | None = None

    @property
    def sinks(self) -> dict[str, Kind]:
        """Give the sinks, looked for when they are first needed: other packages' are imported."""
        if self._sinks is None:
            try:
                self._sinks = kinds()
            except BadSink as error:
                raise click.UsageError(str(error)) from error
        return self._sinks

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *self._sink_options(), own[-1]]  # --help stays the last one

    def _sink_options(self) -> Iterator[SinkOption]:
        for name, kind in self.sinks.items():
            yield from (SinkOption(name, option) for option in kind.options)
            yield from (SinkOption(name, option, hidden=True) for option in OWN)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = list(args)
        return super().parse_args(ctx, args)

    def again(self, ctx: click.Context) -> dict[str, Any]:
        """Give the parameters as they are now: same flags, the file read anew. Raises UsageError."""
        with self.make_context(ctx.info_name, list(ctx.meta["arguments"]), parent=ctx.parent) as fresh:
            return fresh.params

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                title = f"Options of {param.sink}" if isinstance(param, SinkOption) else "Options"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def read_file(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Give the callback of ``--config``: the file's values stand behind flags and environment.

    Without a file of its own, the table ``[dispatch]`` of ``llmproxy.toml`` is taken.
    """
    command = ctx.command
    assert isinstance(command, DispatchCommand)
    _refuse_unknown_variables(command, ctx)
    if path is None:
        try:
            common = configuration.load()
        except Invalid as error:
            raise click.UsageError(str(error)) from error
        if common.path is not None:
            ctx.default_map = dict(file_settings(command, ctx, common.path, common.dispatch))
        return common.path
    path = path.expanduser()
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}.") from error
    ctx.default_map = dict(file_settings(command, ctx, path, found))
    return path


def file_settings(
    command: DispatchCommand, ctx: click.Context, path: Path, found: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield click's names of what a file sets. Raises BadParameter for what nobody knows."""
    params = command.get_params(ctx)
    general = {
        param.name for param in params if param.name and not isinstance(param, SinkOption)
    } - NOT_IN_A_FILE
    for key, value in found.items():
        if isinstance(value, Mapping) and key in command.sinks:
            known = {option.name for option in (*command.sinks[key].options, *OWN)}
            for name, inner in value.items():
                if name not in known:
                    raise click.BadParameter(f"{path}: [{key}] has no key {name!r}{meant(name, known)}")
                yield parameter(key, name), inner
        elif isinstance(value, Mapping):
            raise click.BadParameter(f"{path}: there is no sink [{key}]{meant(key, command.sinks)}")
        elif key not in general:
            raise click.BadParameter(f"{path}: there is no key {key!r}{meant(key, general)}")
        else:
            yield key, [value] if key == "service" and isinstance(value, str) else value


def _refuse_unknown_variables(command: DispatchCommand, ctx: click.Context) -> None:
    """Refuse variables that are mistyped: one must not leave a sink at its default in silence."""
    known = set(WITHOUT_EFFECT)
    for param in command.get_params(ctx):
        names = param.envvar or ()
        known |= {names} if isinstance(names, str) else set(names)
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            raise click.UsageError(f"there is no setting {name}{meant(name, known)}")


def services(ctx: click.Context, _: click.Parameter, values: Sequence[str]) -> list[str]:
    """Give the callback of ``--service``: names, repeated or separated by commas, each once."""
    assert isinstance(ctx.command, DispatchCommand)
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    for name in names:
        if name not in ctx.command.sinks:
            raise click.BadParameter(f"there is no sink {name!r}{meant(name, ctx.command.sinks)}")
    if len(set(names)) > 1:
        for shared in ONE_SINK_ONLY:
            if os.environ.get(shared):
                raise click.UsageError(f"{shared} can't serve several sinks; name one: DISPATCHER_SINK_...")
    return list(dict.fromkeys(names))


def jobs(command: DispatchCommand, params: Mapping[str, Any]) -> list[Job]:
    """Give the sinks that the settings describe. Raises UsageError."""
    names: list[str] = params["service"]
    if len(names) > 1 and params["consumer"]:
        raise click.UsageError("--consumer can't serve several sinks; write --SINK-consumer for each.")
    return [_job(command.sinks[name], params) for name in names]


def _job(kind: Kind, params: Mapping[str, Any]) -> Job:
    own = {option.name: params[parameter(kind.name, option.name)] for option in kind.options}
    for option in kind.options:
        if option.required and own[option.name] in (None, ""):
            flag = option.flag or f"--{kind.name}-{option.name.replace('_', '-')}"
            raise click.UsageError(
                f"--service {kind.name} needs {flag} (or {variable(kind.name, option.name)})."
            )

    def setting(name: str) -> Any:
        value = params[parameter(kind.name, name)]
        return params[name] if value is None else value

    try:
        sink = kind.make(**own, include_content=setting("include_content"))
        privacy = Privacy(setting("include_content"), setting("include_client"), redactor(params["redact"]))
    except Misconfigured as error:
        raise click.UsageError(str(error)) from error
    guarded = Guarded(sink, privacy)
    # A batch for each of the streams that are written side by side.
    batch_size = setting("batch_size") * own.get("streams", 1)
    return Job(kind.name, setting("consumer") or kind.name, batch_size, guarded)
