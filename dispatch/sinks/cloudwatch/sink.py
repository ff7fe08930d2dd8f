"""Put events into log streams, by PutLogEvents. No sequence tokens: the service ignores them since 2023."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from dispatch.delivery import LANES_AT_ONCE
from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from dispatch.message import encode, message, smaller
from dispatch.outline import Outline
from dispatch.privacy import Outlined
from dispatch.proof import as_record
from dispatch.sinks import Parcel, Plan, Rejected, failed_alike
from dispatch.sinks.cloudwatch.emf import EmbeddedMetrics
from dispatch.sinks.cloudwatch.failures import MALFORMED, code_of, explained, is_about_credentials, text_of
from dispatch.sinks.cloudwatch.limits import (
    LARGEST_MESSAGE,
    MAX_AGE_MS,
    MAX_AHEAD_MS,
    MAX_MESSAGE,
    OVERHEAD,
    LogEvent,
    cut,
    length,
    milliseconds,
)
from dispatch.sinks.cloudwatch.streams import DEFAULT_STREAM, StreamNames, check_group
from dispatch.sinks.cloudwatch.wire import Put, accept_only_aws
from store.core.times import rfc3339
from store.spool import Record

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

logger = logging.getLogger(__name__)

BEAT_TYPE = "llm_proxy_dispatcher"
BEAT_STREAM = f"dispatcher-{socket.gethostname()}".replace(":", "-").replace("*", "-")
BEAT_SECONDS = 60.0
CONNECT_SECONDS = 5
READ_SECONDS = 20


@dataclass(slots=True)
class Call:
    """Holds what one parcel still has to put.

    A call that is refused as a whole is halved until the events that are to blame are found; what was put
    before a failure is not put again.
    """

    stream: str
    left: list[Sequence[LogEvent]]
    rejected: list[Rejected] = field(default_factory=list)
    probed: bool = False
    """It tells whether CloudWatch takes another event in that stream: then some of this call's are to
    blame."""
    answered: bool = False
    """It tells whether some of its events were judged one by one; then the call as such is right."""

    def begin_again(self, events: Sequence[LogEvent]) -> None:
        """Forget what was found out about `events`, of which none was taken."""
        self.left, self.rejected, self.probed = [events], [], False


class CloudWatchSink:
    """Writes to one log group; group and streams are made when they are missing."""

    name = "cloudwatch"

    def __init__(  # noqa: PLR0913 - settings, by name
        self,
        group: str,
        names: StreamNames | None = None,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        shape: str = "usage",
        include_content: bool = False,
        metrics: EmbeddedMetrics | None = None,
        max_message: int = MAX_MESSAGE,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        """Prepare to write to several streams side by side.

        `max_message` is in bytes of UTF-8. `beat_seconds`: between two signs of life; 0 for none.

        Raises Misconfigured where no region is known, or a name is not allowed.
        """
        self._group = check_group(group)
        self._names = names or StreamNames(DEFAULT_STREAM)
        self._shape = shape
        self._include_content = include_content
        self._metrics = metrics
        self._plain = shape == "usage" and metrics is None and not include_content
        self._max_message = min(max_message, LARGEST_MESSAGE)
        self._beat_seconds = beat_seconds
        self._beaten = time.monotonic()
        self._region = region
        self._endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._client = self._connect()

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        streams: dict[str, list[LogEvent]] = {}
        now = int(time.time() * 1000)
        for record in records:
            outline = record.outline() if self._plain and isinstance(record, Outlined) else None
            event = self._short(record, outline, now) if outline else self._event(record, now)
            if isinstance(event, Rejected):
                plan.rejected.append(event)
            else:
                stream = self._names.of(outline or record.value, event.timestamp)
                streams.setdefault(stream, []).append(event)
        for stream, events in streams.items():
            events.sort(key=lambda event: event.timestamp)  # stable: equal times keep the order of the spool
            for part in cut(events):
                plan.parcels.append(Parcel([event.record for event in part], Call(stream, [part]), stream))
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        call: Call = parcel.content
        whole = call.left[0] if len(call.left) == 1 else []
        while call.left:
            events = call.left[0]
            try:
                rejected = self._put(call.stream, events)
            except ClientError as error:
                code = code_of(error)
                if code in MALFORMED:
                    self._probe(call)
                    call.left[:1] = self._halves(call, error)
                    continue
                if code != "DataAlreadyAcceptedException":
                    raise self._explained(error) from error
                rejected = []
            except BotoCoreError as error:
                raise self._explained(error) from error
            call.answered = True
            call.rejected += rejected
            call.left.pop(0)
        if whole and not call.answered and (reason := failed_alike(call.rejected)):
            call.begin_again(whole)
            raise Misconfigured(f"{self._group}: {reason}")
        return call.rejected

    def _probe(self, call: Call) -> None:
        """Find out whether the call is refused whatever events it holds. Raises Misconfigured if so: then
        none of them is to blame, and none must be put aside."""
        if call.probed:
            return
        try:
            self._request(call.stream, [_harmless()])
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":  # that is looked at after the parameters
                raise self._explained(error) from error
        except BotoCoreError as error:
            raise self._explained(error) from error
        call.probed = True

    def beat(self, backlog: int) -> None:
        """Send one small event now and then, in a stream of its own.

        Without it a quiet night would look like a dispatcher that is down (see the alarm in
        :mod:`dispatch.sinks.cloudwatch.definition`).
        """
        now = time.monotonic()
        if not self._beat_seconds or now - self._beaten < self._beat_seconds:
            return
        self._beaten = now
        at = datetime.now(UTC)
        host = socket.gethostname()
        sign = {"type": BEAT_TYPE, "timestamp": rfc3339(at), "host": host, "backlog_bytes": backlog}
        text = encode(sign)
        event = LogEvent(int(at.timestamp() * 1000), text, length(text) + OVERHEAD, Record(b"", sign, "", 0))
        try:
            self._put(BEAT_STREAM, [event])
        except (ClientError, BotoCoreError, DeliveryError) as error:
            logger.info("cloudwatch: no sign of life: %s", error)

    def check(self) -> str:
        """Put an event that nobody keeps. A sender needs no other right for this than for its work."""
        stream = (self._names.all_fixed() or [BEAT_STREAM])[0]
        try:
            self._request(stream, [_harmless()])
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return f"{self._group} lets us in; what is missing will be made ({text_of(error)})"
            raise self._explained(error) from error
        except BotoCoreError as error:
            raise self._explained(error) from error
        return f"{self._group} takes events in log stream {stream}"

    def delivered(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """See :class:`dispatch.sinks.Readable`: the whole group, whoever wrote into it."""
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._group, startTime=int(since.timestamp() * 1000)
        )
        try:
            for page in pages:
                for event in page.get("events", []):
                    yield as_record(event["message"])
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from error

    def close(self) -> None:
        self._client.close()

    def _connect(self) -> CloudWatchLogsClient:
        """Give a client with credentials that were read just now. Raises Misconfigured."""
        # Retries are made in one place only, by dispatch.delivery.
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=LANES_AT_ONCE,
            parameter_validation=False,  # our own calls; a third of the time that a call takes
            tcp_keepalive=True,
        )
        try:
            client: CloudWatchLogsClient = boto3.session.Session().client(
                "logs", region_name=self._region, endpoint_url=self._endpoint_url, config=config
            )
        except NoRegionError as error:
            raise Misconfigured(
                "cloudwatch: no region is set; give --region, or set DISPATCHER_CLOUDWATCH_REGION."
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise Misconfigured(f"cloudwatch: {error}") from error
        accept_only_aws(client)
        self._put_log_events = Put(client)
        return client

    def _short(self, record: Record, outline: Outline, now: int) -> LogEvent | Rejected:
        """Do as :meth:`_event`, of a call of which the outline is sent and nothing else."""
        moment = milliseconds(outline.get("timestamp"), now)
        size = length(outline.text)
        if size > self._max_message or not now - MAX_AGE_MS <= moment <= now + MAX_AHEAD_MS:
            return self._event(record, now)
        return LogEvent(moment, outline.text, size + OVERHEAD, record)

    def _event(self, record: Record, now: int) -> LogEvent | Rejected:
        shown = message(record.value, include_content=self._include_content, shape=self._shape)
        moment = milliseconds(record.value.get("timestamp"), now)
        if moment < now - MAX_AGE_MS:
            return Rejected(record, "older than the 14 days that CloudWatch takes")
        # A clock that runs ahead must not cost the event; its own time stays in the message.
        moment = now if moment > now + MAX_AHEAD_MS else moment
        if self._metrics is not None:
            shown = self._metrics.add_to(shown, record.value, moment)
        text = encode(shown)
        whole = size = length(text)
        if size > self._max_message:
            for shorter in smaller(shown, whole):
                text = encode(shorter)
                size = length(text)
                if size <= self._max_message:
                    break
            else:
                return Rejected(
                    record, f"too long: {size} bytes without its content, {self._max_message} allowed"
                )
        return LogEvent(moment, text, size + OVERHEAD, record)

    def _put(self, stream: str, events: Sequence[LogEvent]) -> list[Rejected]:
        try:
            answer = self._request(stream, events)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            self._create(stream)
            try:
                answer = self._request(stream, events)
            except self._client.exceptions.ResourceNotFoundException as again:
                raise Unavailable(
                    f"cloudwatch: {stream} was made, and is not there: {text_of(again)}"
                ) from again
        return _refused(answer.get("rejectedLogEventsInfo") or {}, events)

    def _request(self, stream: str, events: Sequence[LogEvent]) -> Any:
        return self._put_log_events(self._group, stream, events)

    def _halves(self, call: Call, error: ClientError) -> list[Sequence[LogEvent]]:
        """Find the events that are to blame for a call that was refused as a whole."""
        events = call.left[0]
        if len(events) == 1:
            call.rejected.append(
                Rejected(events[0].record, f"CloudWatch: {code_of(error)}: {text_of(error)}")
            )
            return []
        middle = len(events) // 2
        return [events[:middle], events[middle:]]

    def _create(self, stream: str) -> None:
        """Make the stream, and before it the group where that is missing too.

        The right to make groups is not needed as long as it is there.
        """
        logger.info("cloudwatch: making log stream %s of %s", stream, self._group)
        try:
            if not _made(lambda: self._create_stream(stream)):
                _made(lambda: self._client.create_log_group(logGroupName=self._group))
                _made(lambda: self._create_stream(stream))
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error) from error

    def _create_stream(self, stream: str) -> None:
        self._client.create_log_stream(logGroupName=self._group, logStreamName=stream)

    def _explained(self, error: ClientError | BotoCoreError) -> Exception:
        if is_about_credentials(error):
            # Whoever renews them writes a file, or an agent that is asked anew.
            with self._lock:
                self._client = self._connect()
        return explained(error, self._group)


def _harmless() -> LogEvent:
    """Make an event of 1970, of which nothing is stored.

    Whoever has the right to put it is told that it is too old.
    """
    text = "llmproxy dispatch --check"
    return LogEvent(0, text, len(text) + OVERHEAD, Record(b"", {}, "", 0))


def _refused(info: Any, events: Sequence[LogEvent]) -> list[Rejected]:
    """Give what an answer of 200 did not take. Ends are exclusive, the start is inclusive; 0 is an index too
    (API reference of RejectedLogEventsInfo)."""
    old, expired, new = (
        info.get(name)
        for name in ("tooOldLogEventEndIndex", "expiredLogEventEndIndex", "tooNewLogEventStartIndex")
    )
    rejected = []
    for index, event in enumerate(events):
        if old is not None and index < old:
            reason = "older than 14 days"
        elif expired is not None and index < expired:
            reason = "older than the retention of the log group"
        elif new is not None and index >= new:
            reason = "more than 2 hours ahead"
        else:
            continue
        rejected.append(Rejected(event.record, f"CloudWatch: {reason}"))
    return rejected


def _made(create: Callable[[], Any]) -> bool:
    """Give False where the group, in which it was to be made, is missing."""
    try:
        create()
    except ClientError as error:
        code = code_of(error)
        if code == "ResourceNotFoundException":
            return False
        if code == "OperationAbortedException":  # someone else makes it at this moment
            raise Unavailable(f"cloudwatch: {text_of(error)}") from error
        if code != "ResourceAlreadyExistsException":
            raise
    return True


def make(  # noqa: PLR0913 - options, by name
    *,
    log_group: str,
    log_stream: str,
    region: str | None,
    endpoint_url: str | None,
    streams: int,
    max_event_size: int,
    emf: bool,
    emf_dimensions: Sequence[str],
    emf_namespace: str,
    heartbeat: float,
    shape: str,
    include_content: bool,
) -> CloudWatchSink:
    """Give a sink of the options in :mod:`dispatch.catalog`. Raises Misconfigured."""
    return CloudWatchSink(
        log_group,
        StreamNames(log_stream, streams),
        region=region,
        endpoint_url=endpoint_url,
        shape=shape,
        include_content=include_content,
        metrics=EmbeddedMetrics(emf_dimensions, namespace=emf_namespace) if emf else None,
        max_message=max_event_size - OVERHEAD,
        beat_seconds=heartbeat,
    )
