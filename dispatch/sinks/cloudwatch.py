"""Amazon CloudWatch Logs, by PutLogEvents.

Source of the limits: the API reference of PutLogEvents. A call must not hold more than 10,000 events, nor
1,048,576 bytes (counted as UTF-8, and 26 for each event), nor span more than 24 hours; its events must be in
the order of time. Events older than 14 days or more than 2 hours ahead are refused one by one, inside an
answer of 200.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from dispatch.message import encode, message, without_content
from dispatch.sinks import Parcel, Plan, Rejected
from store.spool import Record

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

logger = logging.getLogger(__name__)

MAX_EVENTS = 10_000
MAX_BYTES = 1_048_576
OVERHEAD = 26
MAX_MESSAGE = 262_144 - OVERHEAD
"""Bytes of one message. Today's reference allows 1 MB; an endpoint with the older limit refuses more."""
MAX_SPAN_MS = 24 * 3600 * 1000
MAX_AGE_MS = 14 * 24 * 3600 * 1000 - 3600 * 1000
"""An hour less than allowed, for the time that sending may take."""
MAX_AHEAD_MS = 2 * 3600 * 1000 - 600 * 1000

CONNECT_SECONDS = 5
READ_SECONDS = 20

PERMANENT = frozenset({"InvalidParameterException", "SerializationException"})
NEEDS_A_PERSON = frozenset(
    {
        "AccessDeniedException",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidSignatureException",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "LimitExceededException",
        "OptInRequired",
    }
)


def default_stream() -> str:
    """One stream for each machine; colons and asterisks are not allowed in its name."""
    return f"llmproxy-{socket.gethostname()}".replace(":", "-").replace("*", "-")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One message with its time in milliseconds since 1970, and what it counts towards a call's size."""

    timestamp: int
    message: str
    size: int
    record: Record


class CloudWatchSink:
    """Writes to one log stream; group and stream are made when they are missing."""

    name = "cloudwatch"

    def __init__(
        self,
        group: str,
        stream: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        include_content: bool = False,
    ) -> None:
        """Raises Misconfigured where no region is known."""
        self._group = group
        self._stream = stream
        self._include_content = include_content
        # Retries are made in one place only, by the service.
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
        )
        try:
            self._client: CloudWatchLogsClient = boto3.client(
                "logs", region_name=region, endpoint_url=endpoint_url, config=config
            )
        except NoRegionError as error:
            raise Misconfigured(
                "cloudwatch: no region is set; give --region, or set DISPATCHER_CLOUDWATCH_REGION."
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise Misconfigured(f"cloudwatch: {error}") from error

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        events = []
        now = int(time.time() * 1000)
        for record in records:
            event = self._event(record, now)
            if event.size > MAX_MESSAGE + OVERHEAD:
                plan.rejected.append(Rejected(record, f"longer than {MAX_MESSAGE} bytes"))
            elif event.timestamp < now - MAX_AGE_MS:
                plan.rejected.append(Rejected(record, "older than the 14 days that CloudWatch takes"))
            else:
                events.append(event)
        events.sort(key=lambda event: event.timestamp)  # stable: equal times keep the order of the spool
        plan.parcels = [Parcel([event.record for event in part], part) for part in _cut(events)]
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        events: Sequence[LogEvent] = parcel.content
        try:
            return self._put(events)
        except ClientError as error:
            code = _code(error)
            if code == "ResourceNotFoundException":
                self._create()
                return self._send_again(parcel)
            if code == "DataAlreadyAcceptedException":
                return []
            if code in PERMANENT:
                return self._halve(parcel, error)
            raise self._explained(error) from error
        except (NoCredentialsError, BotoCoreError) as error:
            raise self._explained(error) from error

    def check(self) -> str:
        try:
            found = self._client.describe_log_groups(logGroupNamePrefix=self._group)["logGroups"]
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from error
        there = any(group.get("logGroupName") == self._group for group in found)
        return f"log group {self._group} {'is there' if there else 'will be made'}"

    def close(self) -> None:
        self._client.close()

    def _event(self, record: Record, now: int) -> LogEvent:
        shown = message(record.value, include_content=self._include_content)
        text = encode(shown)
        size = len(text.encode()) + OVERHEAD
        if size > MAX_MESSAGE + OVERHEAD and self._include_content:
            text = encode(without_content(shown, f"content: {size} bytes are too many for CloudWatch"))
            size = len(text.encode()) + OVERHEAD
        moment = _milliseconds(record.value.get("timestamp"), now)
        # A clock that runs ahead must not cost the event; its own time stays in the message.
        return LogEvent(now if moment > now + MAX_AHEAD_MS else moment, text, size, record)

    def _put(self, events: Sequence[LogEvent]) -> list[Rejected]:
        answer = self._client.put_log_events(
            logGroupName=self._group,
            logStreamName=self._stream,
            logEvents=[{"timestamp": event.timestamp, "message": event.message} for event in events],
        )
        refused: Any = answer.get("rejectedLogEventsInfo") or {}
        start = max(refused.get("tooOldLogEventEndIndex") or 0, refused.get("expiredLogEventEndIndex") or 0)
        end = refused.get("tooNewLogEventStartIndex")
        end = len(events) if end is None else end
        return [Rejected(event.record, "CloudWatch: too old, or expired") for event in events[:start]] + [
            Rejected(event.record, "CloudWatch: too far ahead") for event in events[max(start, end) :]
        ]

    def _send_again(self, parcel: Parcel) -> list[Rejected]:
        try:
            return self._put(parcel.content)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from error

    def _halve(self, parcel: Parcel, error: ClientError) -> list[Rejected]:
        """The call was refused as a whole: find the events that are to blame."""
        events: Sequence[LogEvent] = parcel.content
        if len(events) == 1:
            return [Rejected(events[0].record, f"CloudWatch: {error}")]
        middle = len(events) // 2
        return [
            rejected
            for half in (events[:middle], events[middle:])
            for rejected in self.send(Parcel([event.record for event in half], half))
        ]

    def _create(self) -> None:
        logger.info("cloudwatch: making log group %s, stream %s", self._group, self._stream)
        try:
            _ignore_existing(lambda: self._client.create_log_group(logGroupName=self._group))
            _ignore_existing(
                lambda: self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
            )
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from error

    def _explained(self, error: ClientError | BotoCoreError) -> DeliveryError:
        if isinstance(error, NoCredentialsError):
            return Misconfigured("cloudwatch: no credentials were found; see the AWS SDK's credential chain.")
        if isinstance(error, ClientError):
            code, text = _code(error), error.response.get("Error", {}).get("Message", "")
            if code in NEEDS_A_PERSON:
                return Misconfigured(f"cloudwatch: {code}: {text}")
            if code in PERMANENT:  # of CreateLogGroup: the name is not allowed
                return Misconfigured(f"cloudwatch: {self._group} / {self._stream}: {text}")
            return Unavailable(f"cloudwatch: {code or 'an error'}: {text}", retry_after=_retry_after(error))
        return Unavailable(f"cloudwatch: {error}")


def _cut(events: Sequence[LogEvent]) -> list[Sequence[LogEvent]]:
    """Calls that are within the limits of count, bytes and time; `events` are in the order of time."""
    parts: list[Sequence[LogEvent]] = []
    start = size = 0
    for index, event in enumerate(events):
        full = (
            index - start >= MAX_EVENTS
            or size + event.size > MAX_BYTES
            or event.timestamp - events[start].timestamp >= MAX_SPAN_MS
        )
        if full and index > start:
            parts.append(events[start:index])
            start, size = index, 0
        size += event.size
    if start < len(events):
        parts.append(events[start:])
    return parts


def _milliseconds(timestamp: Any, now: int) -> int:
    """Of an RFC 3339 time; `now` where there is none."""
    try:
        return int(datetime.fromisoformat(timestamp).timestamp() * 1000)
    except (TypeError, ValueError):
        return now


def _ignore_existing(create: Any) -> None:
    try:
        create()
    except ClientError as error:
        if _code(error) != "ResourceAlreadyExistsException":
            raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _retry_after(error: ClientError) -> float | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None


def make(
    *,
    log_group: str,
    log_stream: str | None,
    region: str | None,
    endpoint_url: str | None,
    include_content: bool,
) -> CloudWatchSink:
    """A sink of the options in :mod:`dispatch.catalog`. Raises Misconfigured."""
    return CloudWatchSink(
        log_group,
        log_stream or default_stream(),
        region=region,
        endpoint_url=endpoint_url,
        include_content=include_content,
    )
