"""The sinks that there are: our own, and those that other packages add by the entry point `llmproxy.sinks`.

Options are listed here, apart from the code, so that ``--help`` need not import any backend's library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dispatch.options import Kind, Option, boolean, duration, path, size, whole

GROUP = "llmproxy.sinks"
RESERVED = ("include_content", "batch_size", "consumer")
"""Options that every sink has anyway."""


def _lazily(module: str, name: str) -> Callable[..., Any]:
    """What makes a sink, imported when the first one is made."""

    def make(**values: Any) -> Any:
        return getattr(importlib.import_module(f"dispatch.sinks.{module}"), name)(**values)

    return make


CLOUDWATCH = Kind(
    "cloudwatch",
    (
        Option("log_group", "Log group; made if it is missing.", required=True, flag="--log-group"),
        Option("log_stream", "Log stream.  [default: llmproxy-HOSTNAME]", flag="--log-stream"),
        Option(
            "region",
            "Without it, the AWS configuration says.",
            flag="--region",
            env=("AWS_REGION", "AWS_DEFAULT_REGION"),
        ),
        Option("endpoint_url", "Another endpoint, such as a local moto server.", flag="--endpoint-url"),
    ),
    _lazily("cloudwatch", "make"),
)
FILE = Kind(
    "file",
    (
        Option(
            "output",
            "File that lines are appended to.",
            path,
            required=True,
            flag="--output",
            env=("DISPATCHER_ENDPOINT",),
        ),
        Option("rotate_size", "Begin a new file at this size, such as 100MB.", size),
        Option("rotate_every", "Begin a new file each 1h, 1d ... of UTC.", duration),
        Option("zstd", "Compress files that are rotated.", boolean, default=False),
        Option("keep", "Rotated files that are left.  [default: all]", whole(1, 1_000_000)),
    ),
    _lazily("file", "FileSink"),
)
STDOUT = Kind("stdout", (), _lazily("stdout", "StdoutSink"))
BUILT_IN = {kind.name: kind for kind in (CLOUDWATCH, FILE, STDOUT)}


class BadSink(Exception):
    """A sink of another package can't be used. One line that names the package and what is wrong."""


def kinds() -> dict[str, Kind]:
    """Every sink by name, our own first. Raises BadSink."""
    found = dict(BUILT_IN)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        found.setdefault(point.name, _installed(point))
    return found


def _installed(point: EntryPoint) -> Kind:
    package = point.dist.name if point.dist else point.value
    try:
        made = point.load()
        options = tuple(getattr(made, "options", ()))
    except Exception as error:
        raise BadSink(
            f"sink {point.name!r} of {package} can't be loaded: {error!r}; mend or remove it."
        ) from error
    for option in options:
        if not isinstance(option, Option) or option.name in RESERVED:
            raise BadSink(f"sink {point.name!r} of {package}: {option!r} is no option that a sink can add.")
    return Kind(point.name, options, made)
