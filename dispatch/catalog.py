"""List the sinks that there are: our own, and those of other packages (entry point `llmproxy.sinks`).

Options are listed here, apart from the code, so that ``--help`` need not import any backend's library.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dispatch.errors import Misconfigured
from dispatch.message import SHAPES
from dispatch.options import Kind, Option, boolean, choice, duration, path, size, some, whole, words

GROUP = "llmproxy.sinks"
RESERVED = ("include_content", "include_client", "batch_size", "consumer")
"""Options that every sink has anyway."""


def _lazily(module: str, name: str) -> Callable[..., Any]:
    """Give what makes a sink, imported when the first one is made."""

    def make(**values: Any) -> Any:
        try:
            found = importlib.import_module(f"dispatch.sinks.{module}")
        except ModuleNotFoundError as error:
            raise Misconfigured(
                f"{module}: the package {error.name} is missing; install the extra: llmproxy[{module}]."
            ) from error
        return getattr(found, name)(**values)

    return make


SHAPE = Option("shape", "usage: the flat message; full: the event as spooled.", choice(*SHAPES), "usage")
CLOUDWATCH = Kind(
    "cloudwatch",
    (
        Option("log_group", "Log group; made if it is missing.", required=True, flag="--log-group"),
        Option(
            "log_stream",
            "Log stream; may hold {host}, {date}, {project_id}.",
            default="llmproxy-{host}",
            flag="--log-stream",
        ),
        Option(
            "region",
            "Without it, the AWS configuration says.",
            flag="--region",
            env=("AWS_REGION", "AWS_DEFAULT_REGION"),
        ),
        Option("endpoint_url", "Another endpoint, such as a local moto server.", flag="--endpoint-url"),
        Option(
            "streams", "Streams that are written side by side, numbered.", whole(1, 32), 1, flag="--streams"
        ),
        Option("max_event_size", "Larger events lose content; at most 1MiB.", size, default="256KiB"),
        Option("emf", "Add metrics in the embedded metric format.", boolean, default=False, flag="--emf"),
        Option(
            "emf_dimensions",
            "Separated by commas; project+model is a combination.",
            words,
            default="project,model,endpoint,outcome",
            flag="--emf-dimensions",
        ),
        Option("emf_namespace", "Of the metrics.", default="LLMProxy", flag="--emf-namespace"),
        Option("heartbeat", "Time between signs of life, for an alarm; 0 for none.", duration, default="60s"),
        SHAPE,
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
        SHAPE,
    ),
    _lazily("file", "FileSink"),
)
HELICONE = Kind(
    "helicone",
    (
        Option("api_key", "Key that may write.", required=True, env=("LLM_PROXY_API_KEY",)),
        Option(
            "endpoint",
            "URL of the custom log.",
            default="https://api.worker.helicone.ai/custom/v1/log",
            env=("DISPATCHER_ENDPOINT",),
        ),
        Option("connections", "Requests at a time; each holds one call.", whole(1, 64), default=8),
    ),
    _lazily("helicone", "HeliconeSink"),
)
LUNARY = Kind(
    "lunary",
    (
        Option("api_key", "Public or private key of the project.", required=True, env=("LLM_PROXY_API_KEY",)),
        Option(
            "endpoint",
            "URL of the ingest route.",
            default="https://api.lunary.ai/v1/runs/ingest",
            env=("DISPATCHER_ENDPOINT",),
        ),
    ),
    _lazily("lunary", "LunarySink"),
)
OTLP = Kind(
    "otlp",
    (
        Option(
            "endpoint",
            "Base URL of the collector; /v1/traces and so on are added.",
            default="http://localhost:4318",
            env=("OTEL_EXPORTER_OTLP_ENDPOINT",),
        ),
        Option(
            "headers",
            "Sent along: key=value,... percent-encoded.",
            default="",
            env=("OTEL_EXPORTER_OTLP_HEADERS",),
        ),
        Option("service_name", "Name in the resource.", default="llmproxy", env=("OTEL_SERVICE_NAME",)),
        Option(
            "compression",
            "Of requests: gzip or none.",
            choice("gzip", "none"),
            default="gzip",
            env=("OTEL_EXPORTER_OTLP_COMPRESSION",),
        ),
        Option("without_metrics", "Send spans only, to a backend for traces.", boolean, default=False),
    ),
    _lazily("otlp", "OtlpSink"),
)
WANTED = (
    Option(
        "alerts",
        "Which are sent.",
        some("budget", "spend", "dispatcher", "proxy"),
        "budget,spend,dispatcher,proxy",
    ),
    Option("marks", "Of budgets, in percent.", some("50", "80", "100"), "50,80,100"),
)
SLACK = Kind(
    "slack",
    (
        Option("url", "Where its incoming webhook's URL is: env:NAME or file:/PATH.", required=True),
        *WANTED,
    ),
    _lazily("webhook", "SlackSink"),
)
WEBHOOK = Kind(
    "webhook",
    (
        Option("url", "URL, or where it is: env:NAME, file:/PATH.", required=True),
        Option(
            "secret",
            "Where the signing secret is: env:NAME or file:/PATH; several, with commas, all sign.",
            words,
            required=True,
        ),
        *WANTED,
    ),
    _lazily("webhook", "WebhookSink"),
)
ALERT_SINKS = frozenset({SLACK.name, WEBHOOK.name})
STDOUT = Kind("stdout", (SHAPE,), _lazily("stdout", "StdoutSink"))
BUILT_IN = {kind.name: kind for kind in (CLOUDWATCH, FILE, HELICONE, LUNARY, OTLP, SLACK, STDOUT, WEBHOOK)}


class BadSink(Exception):
    """A sink of another package can't be used. One line that names the package and what is wrong."""


def kinds() -> dict[str, Kind]:
    """Give every sink by name, our own first. Raises BadSink."""
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
