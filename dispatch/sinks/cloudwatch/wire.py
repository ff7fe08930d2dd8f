"""PutLogEvents with a body that we write ourselves.

botocore's serialiser walks over each event in Python, which takes several times as long as all else that a
call costs here. The body is JSON (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html), so it is
written by msgspec, and put into the request before botocore signs it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dispatch.sinks.cloudwatch.limits import LogEvent

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient


class Put:
    """Makes the calls of one client. May be used by several threads."""

    def __init__(self, client: CloudWatchLogsClient) -> None:
        self._client = client
        self._ready = threading.local()
        client.meta.events.register("before-call.cloudwatch-logs.PutLogEvents", self._fill_in)

    def __call__(self, group: str, stream: str, events: Sequence[LogEvent]) -> Any:
        """The answer. Raises what botocore raises."""
        self._ready.body = msgspec.json.encode(
            {
                "logGroupName": group,
                "logStreamName": stream,
                "logEvents": [{"timestamp": event.timestamp, "message": event.message} for event in events],
            }
        )
        try:
            return self._client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[])
        finally:
            del self._ready.body

    def _fill_in(self, params: dict[str, Any], **_: Any) -> None:
        """Called by botocore in the thread of the call, before the request is signed."""
        params["body"] = self._ready.body
