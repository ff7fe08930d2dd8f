"""Open a message's body: decode it, and read it as JSON, as an event stream, as a form, or as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from addons.openai.http import sse
from addons.openai.http.encoding import codings_of
from addons.openai.http.form import Form, is_form, read_form
from addons.openai.http.json_bounds import RECORDED_NODES, has_more_values
from addons.openai.http.messages import Headers, Request, Response
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.scan import STREAM_STARTS, Scan, Scanned
from addons.openai.http.window import Window

Json = dict[str, Any]

STREAMED = ("text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl")
ENDS = 64 * 1024
"""Bytes of the beginning and of the end that are kept of a body of too many values."""
KEPT = 8 * 2**20
"""Decoded bytes of a coded body that are parsed whole; of a longer one the texts are cut."""
MOST_LINES = 300_000
"""Lines of an event stream that are parsed whole, a second's work; of more, pieces of text are left out."""
PIECE = 2**16
"""Bytes that are scanned at a time."""


@dataclass(slots=True)
class Opened:
    """Holds a body; exactly one of `value`, `events` and `text` is set, or none for bytes."""

    value: Any = None
    """Parsed JSON, or the fields of a form."""
    events: list[Json] | None = None
    """The JSON objects of an event stream, in order; the name of an event that does not say what it is
    becomes its `type`."""
    unparsed: int = 0
    """Events whose data is no JSON object."""
    unparsed_last: bool = False
    """It tells whether the last event is one of them."""
    done: bool = False
    """It tells whether the event stream has said ``[DONE]``."""
    broken_off: bool = False
    """It tells whether it is JSON that ends before it is whole, of which the beginning is read."""
    text: str | None = None
    form: Form | None = None
    """Set beside `value` where that is a form's fields."""
    tail: bytes = b""
    """The decoded end of a body whose middle is missing."""
    truncated: list[str] = field(default_factory=list)
    """It says why the body is not whole."""
    skipped: int = 0
    """Decoded bytes before `tail` that are missing."""
    undecoded: bool = False
    """It tells whether decoding stopped before the end."""


def header(headers: Headers, name: str) -> str:
    """Give all values of a header, joined; empty where there is none."""
    return ",".join(value for key, value in headers if key.lower() == name)


def open_body(message: Request | Response) -> Opened:
    """Decode and parse, as far as the body goes. Never raises."""
    if isinstance(message, Request) and message.form is not None:
        opened = Opened()
        _take_form(opened, message.form)
        return opened
    if isinstance(message, Request) and message.value is not None:
        return Opened(value=message.value)
    opened = Opened(tail=message.tail, skipped=message.skipped)
    data, error, scanned = message.body, message.undecoded, message.scanned
    # What a capture cut was decoded on its way.
    codings = () if message.skipped else codings_of(header(message.headers, "content-encoding"))
    if codings:
        window = Window(codings, KEPT)
        window.feed(data)
        window.finish()
        data, opened.skipped, opened.tail = window.parts()
        error, scanned = window.error, window.scanned()
    if error:
        opened.truncated.append(error)
        opened.undecoded = True
    if scanned is not None:
        _take_scanned(opened, scanned)
    else:
        parsed = message.parsed if isinstance(message, Response) else ParsedEvents()
        few = isinstance(message, Request) and message.has_few_values
        _parse(opened, data, header(message.headers, "content-type"), parsed, few_values=few)
        if opened.skipped:
            opened.truncated.append(f"{opened.skipped} bytes in the middle were not kept")
    return opened


def _take_scanned(opened: Opened, scanned: Scanned) -> None:
    opened.value, opened.done, opened.unparsed = scanned.value, scanned.done, scanned.unparsed
    if scanned.events is not None:
        opened.events = [_named(name, value) for name, value in scanned.events]
    opened.tail, opened.skipped = b"", scanned.dropped
    if scanned.dropped:
        opened.truncated.append(f"{scanned.dropped} bytes of its texts were not kept")
    if not scanned.whole:
        opened.broken_off = True
        opened.truncated.append("the JSON breaks off")


def _parse(opened: Opened, data: bytes, content_type: str, parsed: ParsedEvents, *, few_values: bool) -> None:
    kind = content_type.lower()
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:6]
    if not start and not opened.tail:
        return
    if is_form(content_type):
        _take_form(opened, read_form(data, content_type))
    elif start[:1] in (b"{", b"["):
        _parse_json(opened, data, few_values=few_values)
        # A file of JSON lines, such as a batch's output, is no stream.
        is_file = kind.startswith("application/octet-stream")
        if opened.text is not None and (
            kind.startswith(STREAMED) or (_has_lines(opened.text) and not is_file)
        ):
            _parse_lines(opened, opened.text)
    elif kind.startswith("text/event-stream") or start.startswith(STREAM_STARTS):
        _parse_stream(opened, data, parsed)
        if opened.tail:
            _parse_events(opened, _from_next_event(opened.tail), parsed)
    elif kind.startswith(("text/", "application/")) and not kind.startswith("application/octet-stream"):
        opened.text = data.decode("utf-8", "replace")


def _take_form(opened: Opened, form: Form) -> None:
    opened.form, opened.value = form, form.as_dict()
    if form.problem:
        opened.truncated.append(form.problem)


def _parse_json(opened: Opened, data: bytes, *, few_values: bool) -> None:
    if not few_values and has_more_values(data, RECORDED_NODES):
        opened.text = data[:ENDS].decode("utf-8", "replace")
        opened.tail = opened.tail or data[-ENDS:]
        opened.skipped += len(data) - (ENDS if opened.skipped else 2 * ENDS)
        opened.truncated.append(f"it has more than {RECORDED_NODES:,} values, so it was not parsed")
        return
    try:
        opened.value = read_json(data)
    except (ValueError, RecursionError):
        _parse_text(opened, data.decode("utf-8-sig", "replace"))  # one broken byte loses nothing else


def read_json(data: bytes) -> Any:
    """Read JSON as :mod:`json` does, also with control characters. Raises ValueError or RecursionError."""
    try:
        return msgspec.json.decode(data)  # in a third of the time
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return json.loads(data, strict=False)


def _parse_text(opened: Opened, written: str) -> None:
    try:
        opened.value = json.loads(written, strict=False)
    except (RecursionError, ValueError):
        opened.text = written


def _has_lines(written: str) -> bool:
    """Tell whether the first two lines of a text that is not JSON are."""
    first, _, rest = written.partition("\n")
    return sse.is_whole(first) and sse.is_whole(rest.partition("\n")[0])


def _parse_lines(opened: Opened, written: str) -> None:
    """Parse a stream that has an object on each line, and no fields; a line that is none is skipped."""
    found: list[Json] = []
    for line in written.splitlines():
        try:
            value = json.loads(line, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    if found:
        opened.events, opened.text = found, None


def _parse_stream(opened: Opened, data: bytes, parsed: ParsedEvents) -> None:
    opened.events = []
    if data.count(b"\n") + data.count(b"\r") <= MOST_LINES:
        _parse_events(opened, data, parsed)
        return
    scan = Scan(data[:PIECE], KEPT)
    for at in range(PIECE, len(data), PIECE):
        scan.feed(data[at : at + PIECE])
    if (scanned := scan.finish()) is not None:
        _take_scanned(opened, scanned)


def _parse_events(opened: Opened, data: bytes, parsed: ParsedEvents) -> None:
    for event in sse.parse(data, parsed):
        if event.data.strip() == sse.DONE:
            opened.done = True
            continue
        value = parsed.take(event.data)
        opened.unparsed_last = value is None
        if value is not None and opened.events is not None:
            opened.events.append(_named(event.type, value))
        else:
            opened.unparsed += 1


def _named(name: str, value: Json) -> Json:
    """Give an event with its name.

    Thread streams name an error only so: its data is the bare error object.
    """
    if name == "error" and value.get("type") != "error" and "error" not in value:
        return {"type": "error", "error": value}
    if name != "message" and "type" not in value and "object" not in value:
        return {"type": name, **value}
    return value


def _from_next_event(tail: bytes) -> bytes:
    """Give the part of a stream's end that begins with a whole event."""
    starts = [at + len(end) for end in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := tail.find(end)) >= 0]
    if not starts:  # parted by one line end
        starts = [at + 1 for start in (b"\ndata:", b"\nevent:") if (at := tail.find(start)) >= 0]
    return tail[min(starts) :] if starts else b""
