"""Send to Lunary, by its ingest route: a start and an end for each call, many calls in one request.

Source: the server's ingest code and its documentation. Worth knowing: an answer of 200 holds one result for
each event, in an order of its own; a start whose run exists already was delivered before; an end without its
start is lost in silence, so both are in one request, the start first; user, model and parameters are read
from the start, tokens and output from the end; tokens on an error are dropped, so a call that used some ends
with `end`, whatever its outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dispatch.message import encode
from dispatch.sinks import Parcel, Plan, Rejected
from dispatch.sinks.calls import Call, call, mapping
from dispatch.sinks.http import Endpoint, Failed
from dispatch.sinks.isolate import Item, Work, isolate
from store.core.times import rfc3339
from store.spool import Record

URL = "https://api.lunary.ai/v1/runs/ingest"
MAX_CALLS = 250
MAX_BYTES = 8 * 2**20
"""It is that of one request; the server takes 20 MB."""
READ_SECONDS = 90.0
"""The server works through the events one by one, and may wait 5 s for a parent."""
TYPES = {"embeddings": "embed"}
"""Lunary's type of a run by endpoint; all others are `llm`."""
PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "stream")
DELIVERED_BEFORE = "already exists"


class LunarySink:
    """Sends calls, never other records."""

    name = "lunary"

    def __init__(self, *, api_key: str, endpoint: str = URL, include_content: bool = False) -> None:
        """Raise Misconfigured where `endpoint` is no URL."""
        headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
        self._endpoint = Endpoint("lunary", endpoint, headers, read_seconds=READ_SECONDS)
        self._include_content = include_content

    def plan(self, records: Sequence[Record]) -> Plan:
        plan = Plan()
        items: list[Item] = []
        size = 0
        for record in records:
            found = call(record, include_content=self._include_content)
            if found is None:
                plan.skipped += 1
                continue
            pair = ",".join(encode(event) for event in events(found)).encode()
            if items and (len(items) >= MAX_CALLS or size + len(pair) > MAX_BYTES):
                plan.parcels.append(_parcel(items))
                items, size = [], 0
            items.append(Item(record, pair))
            size += len(pair)
        if items:
            plan.parcels.append(_parcel(items))
        return plan

    def send(self, parcel: Parcel) -> list[Rejected]:
        work: Work = parcel.content
        return isolate(work, self._post, self.check)

    def check(self) -> str:
        self._results(b'{"events":[]}')
        return f"{self._endpoint.url} knows the key"

    def close(self) -> None:
        self._endpoint.close()

    def _post(self, items: Sequence[Item]) -> list[Rejected]:
        body = b'{"events":[' + b",".join(item.content for item in items) + b"]}"
        errors = self._results(body)
        rejected = []
        for item in items:
            # A run that is missing from the answer is not known to be stored.
            reasons = errors.get(str(item.record.value.get("event_id")), ["the answer does not name it"])
            if bad := [reason for reason in reasons if reason and DELIVERED_BEFORE not in reason]:
                rejected.append(Rejected(item.record, f"lunary: {bad[0]}"))
        if len(rejected) == len(items):
            # None at all: rather the server's fault than that of every call.
            raise Failed(f"{rejected[0].reason} (as for all {len(items)} calls of the request)")
        return rejected

    def _results(self, body: bytes) -> dict[str, list[str]]:
        """Post; return what the answer says of each run, an empty text where an event was stored."""
        answer = self._endpoint.post(body)
        try:
            results = msgspec.json.decode(answer.body)["results"]
            found: dict[str, list[str]] = {}
            for result in results:
                text = "" if result["success"] else str(result.get("error") or "not stored, without a reason")
                found.setdefault(str(result["id"]), []).append(text)
            return found
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise self._endpoint.stranger(answer.status, answer.body) from error


def _parcel(items: list[Item]) -> Parcel:
    return Parcel([item.record for item in items], Work(items))


def events(found: Call) -> Iterator[dict[str, Any]]:
    """Start and end, or start and error."""
    event, usage = found.event, found.usage
    request = mapping(found.request)
    common: dict[str, Any] = {"type": TYPES.get(event.endpoint or "", "llm"), "runId": found.id}
    start = {
        **common,
        "event": "start",
        "timestamp": rfc3339(found.start),
        "name": event.model or event.model_requested,
        "userId": found.user_id,
        "tags": [value for value in (event.endpoint, event.project_name) if value],
        "metadata": _metadata(found),
        "params": {name: request[name] for name in PARAMETERS if name in request},
        "input": _input(request),
    }
    yield _known(start)
    prompt, completion = usage.input_tokens, usage.output_tokens
    end = {**common, "event": "end", "timestamp": rfc3339(found.end)}
    if found.failed and not (prompt or completion):
        error = found.error
        said = [text for text in (error.code, error.type, error.message) if text]
        yield _known({**end, "event": "error", "error": {"message": ": ".join([_outcome(found), *said])}})
        return
    cached = usage.input_tokens_details.get("cached_tokens")
    end["output"] = _output(found.response)
    end["tokensUsage"] = _known({"prompt": prompt, "completion": completion, "promptCached": cached})
    yield _known(end)


def _metadata(found: Call) -> dict[str, Any]:
    """Give one level of texts and numbers: the server keeps no more. Pairs hide none of our names.

    Nor do those of the request hide the token's.
    """
    names = (
        *("method", "path", "status", "duration_ms", "request_id", "project_id", "token_id", "outcome"),
        *("endpoint", "time_to_first_token_ms", "service_tier", "upstream_request_id"),
    )
    event = found.event
    own = {name: getattr(event, name) for name in names}
    own |= {"cost_usd": found.usd, "usage_source": found.usage_source}
    claims = {f"request_metadata.{name}": text for name, text in event.request_metadata.items()}
    return _known({**claims, **event.token_metadata, **_known(own)})


def _input(request: Mapping[str, Any]) -> Any:
    for name in ("messages", "input", "prompt"):
        if name in request:
            return request[name]
    return None


def _output(response: Any) -> Any:
    """Give the message of a chat completion; what the other APIs answered as it is."""
    if not isinstance(response, Mapping):
        return response
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        shown = [mapping(choice).get("message") or mapping(choice).get("text") for choice in choices]
        return shown[0] if len(shown) == 1 else shown
    return response.get("output", response)


def _outcome(found: Call) -> str:
    status = found.event.status
    return f"{found.event.outcome}" + (f" {status}" if status else "")


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
