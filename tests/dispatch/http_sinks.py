"""What the tests of Helicone, Lunary and OTLP share: sinks for strict servers, and what those have."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from dispatch.delivery import Delivery, Totals
from dispatch.sinks import Sink
from dispatch.sinks.helicone import HeliconeSink
from dispatch.sinks.lunary import LunarySink
from dispatch.sinks.otlp import OtlpSink
from store.spool import Record
from tests.dispatch.backends import (
    KEY,
    Backend,
    Collector,
    Helicone,
    Lunary,
    attributes,
)

AT = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
WRITER = {"type": "llm_proxy_writer", "event_id": "w", "last_seq": 3, "timestamp": "2026-02-03T04:05:06.789Z"}


def sink_of(backend: Backend, *, key: str = KEY, content: bool = False) -> Sink:
    if isinstance(backend, Helicone):
        endpoint = f"{backend.url}/custom/v1/log"
        return HeliconeSink(api_key=key, endpoint=endpoint, connections=3, include_content=content)
    if isinstance(backend, Lunary):
        endpoint = f"{backend.url}/v1/runs/ingest"
        return LunarySink(api_key=key, endpoint=endpoint, include_content=content)
    return OtlpSink(endpoint=backend.url, headers=f"x-key={key}", include_content=content)


def stored(backend: Backend) -> list[str]:
    """The ids of the events that the backend has, in its order."""
    if isinstance(backend, Helicone):
        return [log["providerRequest"]["meta"]["Helicone-Property-Event-Id"] for log in backend.logs]
    if isinstance(backend, Lunary):
        assert backend.orphans == []
        return [run_id for run_id, run in backend.runs.items() if run.keys() & {"end", "error"}]
    assert isinstance(backend, Collector)
    return [attributes(span)["llmproxy.event_id"] for span in backend.spans]


def records(*events: dict[str, Any]) -> list[Record]:
    return [Record(b"", event, "s", number) for number, event in enumerate(events)]


def send(
    sink: Sink, *events: dict[str, Any], totals: Totals | None = None, patient: bool = True
) -> tuple[list[str], int]:
    """Deliver as the dispatcher does. The ids that were put aside, and how many records were skipped."""
    plan = sink.plan(records(*events))
    sender = Delivery(sink, totals or Totals(), patient=patient, stop=threading.Event())
    refused = sender.send(plan.parcels)
    assert refused is not None
    sink.close()
    return [letter.record.value["event_id"] for letter in [*plan.rejected, *refused]], plan.skipped


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]
