"""Send an alert past the spool: a test, or what the disk can't hold."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from uuid_utils import uuid7

from dispatch.delivery import Delivery, GaveUp, Totals
from dispatch.sinks import Sink
from store.core.event import AlertRecord
from store.core.times import rfc3339
from store.spool import Record
from store.spool.segment import encode


def alert_of_test() -> AlertRecord:
    """Make an alert by which to see that alerts arrive."""
    return AlertRecord(
        event_id=str(uuid7()),
        timestamp=rfc3339(datetime.now(UTC)),
        alert="test",
        state="firing",
        reason="test",
        summary="This is a test: alerts of llmproxy arrive here",
    )


def send_at_once(sink: Sink, record: AlertRecord) -> str | None:
    """Send a record by a sink, with a few tries; return why it was not taken, None where it was."""
    plan = sink.plan([Record(encode(record).rstrip(b"\n"), None, "", 0)])
    try:
        refused = Delivery(sink, Totals(), patient=False, stop=threading.Event()).send(plan.parcels)
    except GaveUp as error:
        return str(error)
    return None if not refused else refused[0].reason
