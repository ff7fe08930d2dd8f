"""Call PutLogEvents with a body that we write ourselves, and check that only AWS can have answered.

botocore's serialiser walks over each event in Python, which takes several times as long as all else that a
call costs here. The body is JSON (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html), so it is
written by msgspec, and put into the request before botocore signs it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import BotoCoreError

from dispatch.sinks.cloudwatch.limits import LogEvent

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient


QUOTED = 100
"""Characters of a strange answer that are quoted."""


class NotFromAws(BotoCoreError):
    """Something between us and AWS has answered with success: nothing is known to be stored."""

    fmt = (
        "{operation} was answered {status} by something that is not AWS ({reason}: {body!r}); "
        "is a proxy or a login page in between (HTTPS_PROXY, NO_PROXY), or is the endpoint's URL wrong?"
    )


def accept_only_aws(client: Any) -> None:
    """Make `client` raise NotFromAws for a success without AWS's request id, or whose body is not JSON.

    botocore takes any 2xx for a success, whatever it holds. The body is looked at where the service's
    protocol is JSON and the operation has an answer.
    """
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parse.{service}.*", _refuse_strangers)


def _refuse_strangers(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    status = response_dict["status_code"]
    if not 200 <= status < 300:
        return  # an error is none of AWS's if it has no code: see dispatch.sinks.cloudwatch.failures
    headers, body = response_dict["headers"], response_dict["body"]
    reason = ""
    if not any(name in headers for name in ("x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id")):
        reason = "no request id"
    elif _answers_json(operation_model) and not _is_object(body):
        reason = "no JSON"
    if reason:
        quoted = bytes(body or b"")[:QUOTED].decode("utf-8", "replace")
        raise NotFromAws(operation=operation_model.name, status=status, reason=reason, body=quoted)


def _answers_json(operation_model: Any) -> bool:
    protocol = operation_model.service_model.resolved_protocol
    return protocol == "json" and operation_model.output_shape is not None


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


class Put:
    """Makes the calls of one client. May be used by several threads."""

    def __init__(self, client: CloudWatchLogsClient) -> None:
        self._client = client
        self._ready = threading.local()
        client.meta.events.register("before-call.cloudwatch-logs.PutLogEvents", self._fill_in)

    def __call__(self, group: str, stream: str, events: Sequence[LogEvent]) -> Any:
        """Give the answer. Raises what botocore raises."""
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
        """Put the body in; botocore calls this in the thread of the call, before the request is signed."""
        params["body"] = self._ready.body
