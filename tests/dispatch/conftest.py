from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from dispatch import delivery
from dispatch.delivery import Totals
from dispatch.privacy import Guarded, Privacy
from dispatch.service import Dispatcher
from dispatch.sinks.cloudwatch import CloudWatchSink
from dispatch.sinks.cloudwatch.streams import StreamNames
from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from store.core.times import rfc3339
from store.spool import SpoolReader, SpoolWriter
from tests import nursery
from tests.dispatch.backends import Collector, Helicone, Lunary
from tests.dispatch.cloudwatch import REGION, moto_server
from tests.dispatch.cloudwatch_sink import Drain

_groups = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moto takes seconds to start, once in each worker; the strict server shows the same and more."""
    for item in items:
        if "moto" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with moto_server() as address:
        yield address


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses before another try be short."""
    monkeypatch.setattr(delivery, "BASE_SECONDS", 0.001)
    monkeypatch.setattr(delivery, "LONGEST_SECONDS", 0.02)


@pytest.fixture
def strict() -> Iterator[StrictCloudWatch]:
    """A CloudWatch Logs that holds every limit and fails as it is told to."""
    with StrictCloudWatch() as running:
        yield running


@pytest.fixture
def helicone() -> Iterator[Helicone]:
    backend = Helicone()
    with backend.running():
        yield backend


@pytest.fixture
def lunary() -> Iterator[Lunary]:
    backend = Lunary()
    with backend.running():
        yield backend


@pytest.fixture
def collector() -> Iterator[Collector]:
    backend = Collector()
    with backend.running():
        yield backend


@pytest.fixture
def group() -> str:
    """A log group that no other test uses."""
    return f"/llm/test-{os.getpid()}-{next(_groups)}"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def usage_event(number: int, at: datetime | None = None, **fields: Any) -> dict[str, Any]:
    """An event as the proxy writes it, with content that must not leave the machine."""
    return {
        "schema": 1,
        "type": "llm_proxy_usage",
        "event_id": str(uuid7()),
        "timestamp": rfc3339(at or datetime.now(UTC) - timedelta(seconds=1000 - number % 1000)),
        "duration_ms": 12,
        "outcome": "ok",
        "status": 200,
        "error": {"type": "t", "code": "c", "message": "SECRET error text"},
        "request_id": "r",
        "method": "POST",
        "path": "/v1/chat/completions",
        "client": {"ip": "127.0.0.1", "user_agent": "SECRET agent", "sdk": "python/3.0"},
        "project_id": "p",
        "token_id": "t",
        "token_metadata": {"team": "search"},
        "user": {"id": "u", "source": "user"},
        "model": "gpt-4o-mini",
        "usage": {"input_tokens": number, "output_tokens": 1, "total_tokens": number + 1, "source": "api"},
        "cost": {"usd": "0.001", "price_source": "x"},
        "request": {"headers": {"user-agent": "SECRET"}, "body": {"messages": "SECRET prompt"}},
        "response": {"body": "SECRET answer"},
        **fields,
    }


def write(spool: Path, events: Sequence[Mapping[str, Any]], group_size: int = 100) -> list[str]:
    """Spool events, as a proxy that then ends; returns their ids."""
    writer = SpoolWriter(spool)
    for start in range(0, len(events), group_size):
        writer.append(events[start : start + group_size])
    writer.close()
    return [event["event_id"] for event in events]


Run = Callable[..., subprocess.CompletedProcess[str]]

AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DISPATCHER_", "LLMPROXY_"))}
    return {**kept, **AWS, **changes}


def command(spool: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.cli", "--spool", str(spool), "dispatch", *arguments]


def to_cloudwatch(endpoint: str, group: str, *arguments: str) -> list[str]:
    return [
        *("--service", "cloudwatch", "--endpoint-url", endpoint, "--region", REGION),
        *("--log-group", group, "--log-stream", "proxy", *arguments),
    ]


@pytest.fixture
def dispatch(spool: Path) -> Run:
    """Run the dispatcher as a process."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return nursery.run_text(command(spool, *arguments), env=environment(**changes))

    return run


@pytest.fixture
def make(strict: StrictCloudWatch, group: str) -> Callable[..., CloudWatchSink]:
    """A sink that writes to the stream `proxy` of the strict server."""

    def make(stream: str = "proxy", streams: int = 1, **options: Any) -> CloudWatchSink:
        names = StreamNames(stream, streams)
        return CloudWatchSink(group, names, region=REGION, endpoint_url=strict.url, **options)

    return make


@pytest.fixture
def drain(spool: Path, make: Callable[..., CloudWatchSink]) -> Drain:
    """Drain the spool in this process."""

    def drain(*, batch_size: int = 1000, **options: Any) -> Totals:
        sink = make(**options)
        privacy = Privacy(include_content=options.get("include_content", False))
        with SpoolReader(spool, "cloudwatch") as reader:
            guarded = Guarded(sink, privacy)
            dispatcher = Dispatcher(reader, guarded, batch_size=batch_size, follow=False)
            dispatcher.run()
        sink.close()
        return dispatcher.totals

    return drain
