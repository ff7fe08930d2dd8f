"""Send to Helicone, by its custom log: one request for each call, several at a time.

Source: Helicone's documentation of the custom log and of its headers, and the checks in its worker. Worth
knowing: properties are read from `meta` by older servers and from HTTP headers by newer ones, so they are in
both; without `timing` newer servers take the time of arrival; a success is `ok` with a header `helicone-id`,
and a 200 whose body is an error was not stored;
a request id that is no UUID of version 1 to 5 is replaced, so it is derived from the `event_id`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from dispatch.errors import DeliveryError, Misconfigured
from dispatch.message import encode
from dispatch.sinks import Parcel, Plan, Rejected, failed_alike
from dispatch.sinks.calls import Call, call
from dispatch.sinks.http import Answer, Endpoint, Failed, Refused
from dispatch.sinks.isolate import Item, Work
from store.core.codes import Outcome
from store.spool import Record

URL = "https://api.worker.helicone.ai/custom/v1/log"
PATHLESS = "custom-model-nopath"
CANCELLED = -3
"""Helicone's status of a stream that the client left."""
MAX_BYTES = 10 * 2**20
"""It is that of one request's body."""
PARCEL = 100
OK = (b"ok", b'"ok"')
"""It is what Helicone answers to a log that it has stored."""
NAMESPACE = uuid.UUID("6f0a8f0e-3f0c-5e0b-9d52-7b8f6a3f5b10")
"""Ours, for the ids that are derived from event ids."""


@dataclass(frozen=True, slots=True)
class Body:
    """Holds one request."""

    data: bytes
    headers: Mapping[str, str]


class HeliconeSink:
    """Sends calls, never other records."""

    name = "helicone"

    def __init__(
        self,
        *,
        api_key: str,
        endpoint: str = URL,
        connections: int = 8,
        include_content: bool = False,
    ) -> None:
        """Raise Misconfigured where `endpoint` is no URL."""
        headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
        self._endpoint = Endpoint("helicone", endpoint, headers, connections=connections)
        self._pool = ThreadPoolExecutor(connections, "helicone")
        self._include_content = include_content

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        items: list[Item] = []
        for record in records:
            found = call(record, include_content=self._include_content)
            if found is None:
                plan.skipped += 1
                continue
            body = Body(encode(payload(found)).encode(), headers(found))
            if len(body.data) > MAX_BYTES:  # only content makes a body that long
                slim = call(record, include_content=False)
                assert slim is not None
                body = Body(encode(payload(slim)).encode(), body.headers)
            items.append(Item(record, body))
        for start in range(0, len(items), PARCEL):
            part = items[start : start + PARCEL]
            plan.parcels.append(Parcel([item.record for item in part], Work(part)))
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        """Give what was taken is not sent again when the rest is: an id twice would be a call twice."""
        work: Work = parcel.content
        attempt = _Attempt(self._endpoint)
        outcomes = list(self._pool.map(attempt.send, work.items))
        failed = [error for error in outcomes if isinstance(error, DeliveryError)]
        broken = any(isinstance(error, Failed) for error in failed)
        blamed = broken and work.to_blame(lambda: attempt.taken > 0 or self._alive())
        left, rejected = [], []
        for item, found in zip(work.items, outcomes, strict=True):
            if isinstance(found, Refused) or (blamed and isinstance(found, Failed)):
                rejected.append(Rejected(item.record, str(found)))
            elif found is not None:
                left.append(item)
        if len(rejected) == len(parcel.records) and (reason := failed_alike(rejected)):
            raise Misconfigured(reason)
        work.items = left
        work.rejected += rejected
        if left:
            raise next((error for error in failed if isinstance(error, Misconfigured)), None) or next(
                error for error in failed if not isinstance(error, Refused)
            )
        return work.rejected

    def check(self) -> str:
        """Send an empty object, which every version refuses, but only after the key was looked at."""
        try:
            _expect_taken(self._endpoint, self._endpoint.post(b"{}"))
        except Refused:
            return f"{self._endpoint.url} knows the key"
        except Failed:
            return f"{self._endpoint.url} answers; whether it knows the key it does not say"
        return f"{self._endpoint.url} takes requests"

    def close(self) -> None:
        self._pool.shutdown(wait=False)
        self._endpoint.close()

    def _alive(self) -> bool:
        try:
            _expect_taken(self._endpoint, self._endpoint.post(b"{}"))
        except Refused:
            return True
        except DeliveryError:
            return False
        return True


class _Attempt:
    """Tries the items of a parcel once; after a failure that concerns them all, the rest is not tried."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.taken = 0
        self._endpoint = endpoint
        self._stopped_by: DeliveryError | None = None

    def send(self, item: Item) -> DeliveryError | None:
        """Send an item; give None where it was taken."""
        if self._stopped_by is not None:
            return self._stopped_by
        body: Body = item.content
        try:
            _expect_taken(self._endpoint, self._endpoint.post(body.data, body.headers))
        except (Refused, Failed) as error:
            return error
        except DeliveryError as error:
            self._stopped_by = error
            return error
        self.taken += 1
        return None


def _expect_taken(endpoint: Endpoint, answer: Answer) -> None:
    """Raise DeliveryError unless an answer of 2xx is Helicone's, and says that the log was stored."""
    try:
        found = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        found = None
    if isinstance(found, Mapping):
        if found.get("error"):
            raise Failed(f"helicone: answers {answer.status} with an error: {str(found['error'])[:300]}")
    elif "helicone-id" not in answer.headers and answer.body.strip().lower() not in OK:
        raise endpoint.stranger(answer.status, answer.body)


def payload(found: Call) -> dict[str, Any]:
    """Give the body of the custom log."""
    event = found.event
    model = event.model_requested or event.model
    request = found.request
    if not isinstance(request, Mapping):
        request = {"model": model} if model else {}
    first = event.time_to_first_token_ms
    return {
        "providerRequest": {
            "url": event.path or PATHLESS,
            "json": request,
            "meta": {**_reference_names(found), **headers(found, ascii_only=False)},
        },
        "providerResponse": {"status": _status(found), "headers": {}, "json": _response(found)},
        "timing": {
            "startTime": _time(found.start),
            "endTime": _time(found.end),
            **({} if first is None else {"timeToFirstToken": first}),
        },
    }


def headers(found: Call, *, ascii_only: bool = True) -> dict[str, str]:
    """Write Helicone's own headers: who, and what to filter by.

    HTTP takes ASCII only; the rest is in the body alone.
    """
    event = found.event
    properties = {
        **{f"Request-{name}": text for name, text in event.request_metadata.items()},
        "Event-Id": found.id,
        "Outcome": event.outcome,
        "Endpoint": event.endpoint,
        "Project": event.project_name or event.project_id,
        "Project-Id": event.project_id,
        "Token-Id": event.token_id,
        "Cost-Usd": found.usd,
        "Usage-Source": found.usage_source,
        **event.token_metadata,
    }
    made = {
        f"Helicone-Property-{re.sub('[^A-Za-z0-9-]', '-', name)}": str(value)
        for name, value in properties.items()
        if value is not None
    }
    made["Helicone-Request-Id"] = str(uuid.uuid5(NAMESPACE, found.id))
    if found.user_id is not None:
        made["Helicone-User-Id"] = found.user_id
    if not ascii_only:
        return made
    return {name: value for name, value in made.items() if re.fullmatch("[ -~]{1,1000}", value)}


def _reference_names(found: Call) -> dict[str, str]:
    """Give the flat strings that the reference system puts into `meta`."""
    names = ("method", "path", "model", "request_id", "project_id", "token_id")
    provider = "azure" if (found.event.host or "").endswith(".azure.com") else "openai"
    flat = {name: value for name in names if (value := getattr(found.event, name)) is not None}
    return {**flat, "provider": provider, "Helicone-Provider": provider}


def _status(found: Call) -> int:
    if found.event.outcome == Outcome.CLIENT_ABORTED:
        return CANCELLED
    return 500 if found.event.status is None else found.event.status


def _response(found: Call) -> dict[str, Any]:
    """Give the answer where it may be shown; its usage, in the names of chat completions, in any case."""
    body = found.response
    shown: dict[str, Any] = dict(body) if isinstance(body, Mapping) else {}
    if body is not None and not isinstance(body, Mapping):
        shown["note"] = "response was not JSON; omitted"
    for name, value in (("id", found.event.response_id), ("model", found.event.model)):
        if value and name not in shown:
            shown[name] = value
    if found.error_fields is not None and "error" not in shown:
        shown["error"] = found.error_fields
    usage = {
        "prompt_tokens": found.usage.input_tokens,
        "completion_tokens": found.usage.output_tokens,
        "total_tokens": found.usage.total_tokens,
        "prompt_tokens_details": found.usage.input_tokens_details or None,
        "completion_tokens_details": found.usage.output_tokens_details or None,
    }
    if known := {name: value for name, value in usage.items() if value is not None}:
        shown["usage"] = known
    return shown


def _time(moment: datetime) -> dict[str, int]:
    """Give whole seconds since 1970, and the milliseconds beyond."""
    seconds, milliseconds = divmod(round(moment.timestamp() * 1000), 1000)
    return {"seconds": seconds, "milliseconds": milliseconds}
