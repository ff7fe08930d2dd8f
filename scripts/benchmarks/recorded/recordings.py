"""Read recorded exchanges that report their usage, for measurements.

A file of JSON Lines, gzipped or not, with the fields that ``llmproxy import`` reads. Beside them, where there
are any: ``host_kind`` (``openai``, ``azure``, ``compatible``), ``source_repo`` (who recorded it) and
``usage`` (the last usage object in the body, found by whoever made the file).
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.importing import Recorded, lines
from addons.openai import Request, Response
from store.core.urls import split_url

DEFAULT = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "openai_traffic.jsonl.gz"
NAMES = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))


@dataclass(frozen=True, slots=True)
class Reported:
    """Holds a usage as the body has it."""

    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    key: str
    by: str
    host_kind: str
    recorded: Recorded
    reported: Reported | None

    @property
    def request(self) -> Request:
        return Request(
            self.recorded.method, self.recorded.url, self._plain_request_headers(), self.recorded.request_body
        )

    def response(self, coding: str = "", body: bytes | None = None) -> Response:
        """Give the answer, or the same in a coding."""
        headers = [pair for pair in self.recorded.response_headers if pair[0].lower() != "content-encoding"]
        if coding:
            headers.append(("content-encoding", coding))
        return Response(
            self.recorded.status or 0, headers, self.recorded.response_body if body is None else body
        )

    def _plain_request_headers(self) -> list[tuple[str, str]]:
        """Give the headers of plain bodies: they are plain, whatever the headers say."""
        return [pair for pair in self.recorded.request_headers if pair[0].lower() != "content-encoding"]


def read(path: Path) -> list[Recording]:
    """Give all exchanges of a file. Raises OSError, or ValueError where a line is no exchange."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as source:
        return list(_recordings(io.BufferedReader(source)))


def _recordings(source: io.BufferedReader[Any]) -> Iterator[Recording]:
    for line in source:
        value = json.loads(line)
        recorded = lines.parse(value)
        yield Recording(
            key=str(value.get("id") or recorded.url),
            by=str(value.get("source_repo") or ""),
            host_kind=str(value.get("host_kind") or _host_kind(recorded.url)),
            recorded=recorded,
            reported=_reported(recorded.response_body, value.get("usage")),
        )


def _host_kind(url: str) -> str:
    host = split_url(url).hostname or ""
    if host.endswith(".openai.azure.com"):
        return "azure"
    return "openai" if host == "api.openai.com" else "compatible"


def _reported(body: bytes, found: object) -> Reported | None:
    """Give a second reading of the usage, by other code than the proxy's.

    Of a JSON answer it is the usage at the top: those in a list are of earlier calls. Of a stream it is the
    last one (`found`, or what a search finds). Zeros are no report: compatible servers write them where they
    did not count.
    """
    try:
        parsed = json.loads(body)
    except ValueError:
        usage = found or _last_of_stream(body)
    else:
        answer = parsed if isinstance(parsed, Mapping) else {}
        inner = answer.get("response")
        usage = answer.get("usage") or (inner.get("usage") if isinstance(inner, Mapping) else None)
    if not isinstance(usage, Mapping):
        return None
    for inputs, outputs in NAMES:
        if isinstance(usage.get(inputs), int):
            given, whole = usage[inputs], usage.get("total_tokens")
            written = _with_thinking(usage, usage.get(outputs) or 0, given)
            reported = Reported(given, written, whole and max(whole, given + written), None)
            return reported if reported.input_tokens or reported.output_tokens else None
    seconds = usage.get("seconds")
    return Reported(None, None, None, float(seconds)) if isinstance(seconds, int | float) else None


def _with_thinking(usage: Mapping[str, Any], written: int, given: int) -> int:
    """Give the output with the thinking that is beside it: the total shows that (x.ai), or that it is larger.

    The costs that Vercel's gateway reports for Gemini show that those are billed.
    """
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    beside = thought if isinstance(thought, int) and thought > written else 0
    return max(written + beside, (usage.get("total_tokens") or 0) - given)


def _last_of_stream(body: bytes) -> object:
    last: object = None
    for line in body.splitlines():
        if not line.startswith(b"data:") or b'"usage"' not in line:
            continue
        try:
            event = json.loads(line[5:])
        except ValueError:
            continue
        for holder in (event, event.get("response")) if isinstance(event, Mapping) else ():
            if isinstance(holder, Mapping) and isinstance(holder.get("usage"), Mapping):
                last = holder["usage"]
    return last
