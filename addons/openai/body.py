"""A message's body, opened: decoded, and read as JSON, as an event stream, as a form, or as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from addons.openai import sse
from addons.openai.encoding import codings_of
from addons.openai.form import Form, is_form, read_form
from addons.openai.messages import Headers, Request, Response
from addons.openai.window import Window

Json = dict[str, Any]

DONE = "[DONE]"
STREAM_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
KEPT = 8 * 2**20
"""Decoded bytes of a coded body that are looked into; of a longer one its first and its last half."""
MOST_LINES = 300_000
"""Lines of an event stream that are looked into, a second's work; of more their first and their last half."""


@dataclass(slots=True)
class Opened:
    """What a body holds; exactly one of `value`, `events` and `text` is set, or none for bytes."""

    value: Any = None
    """Parsed JSON, or the fields of a form."""
    events: list[Json] | None = None
    """The JSON objects of an event stream, in order; the name of an event that does not say what it is
    becomes its `type`."""
    unparsed: int = 0
    """Events whose data is no JSON object."""
    text: str | None = None
    form: Form | None = None
    """Set beside `value` where that is a form's fields."""
    tail: bytes = b""
    """The decoded end of a body whose middle is missing."""
    truncated: list[str] = field(default_factory=list)
    """Why the body is not whole."""
    skipped: int = 0
    """Decoded bytes before `tail` that are missing."""
    undecoded: bool = False
    """Whether decoding stopped before the end."""


def header(headers: Headers, name: str) -> str:
    """All values of a header, joined; empty where there is none."""
    return ",".join(value for key, value in headers if key.lower() == name)


def open_body(message: Request | Response) -> Opened:
    """Decode and parse, as far as the body goes. Never raises."""
    if isinstance(message, Request) and message.form is not None:
        opened = Opened()
        _take_form(opened, message.form)
        return opened
    opened = Opened(tail=message.tail, skipped=message.skipped)
    data, error = message.body, message.undecoded
    # What a capture cut was decoded on its way.
    codings = () if message.skipped else codings_of(header(message.headers, "content-encoding"))
    if codings:
        window = Window(codings, KEPT)
        window.feed(data)
        window.finish()
        data, opened.skipped, opened.tail = window.parts()
        error = window.error
    if error:
        opened.truncated.append(error)
        opened.undecoded = True
    _parse(opened, data, header(message.headers, "content-type"))
    if opened.skipped:
        opened.truncated.append(f"{opened.skipped} bytes in the middle were not kept")
    return opened


def _parse(opened: Opened, data: bytes, content_type: str) -> None:
    kind = content_type.lower()
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:6]
    if not start and not opened.tail:
        return
    if is_form(content_type):
        _take_form(opened, read_form(data, content_type))
    elif start[:1] in (b"{", b"["):
        _parse_json(opened, data)
    elif kind.startswith("text/event-stream") or start.startswith(STREAM_STARTS):
        opened.events = []
        _parse_events(opened, _first_lines(opened, data))
        if opened.tail:
            _parse_events(opened, _from_next_event(opened.tail))
    elif kind.startswith(("text/", "application/")) and not kind.startswith("application/octet-stream"):
        opened.text = data.decode("utf-8", "replace")


def _take_form(opened: Opened, form: Form) -> None:
    opened.form, opened.value = form, form.as_dict()
    if form.problem:
        opened.truncated.append(form.problem)


def _parse_json(opened: Opened, data: bytes) -> None:
    try:
        opened.value = json.loads(data)
    except (ValueError, RecursionError):
        opened.text = data.decode("utf-8", "replace")


def _first_lines(opened: Opened, data: bytes) -> bytes:
    """The first lines of a stream; if there are more than MOST_LINES, the last ones become its tail."""
    half = MOST_LINES // 2
    end = b"\n" if b"\n" in data else b"\r"
    if data.count(end) <= (half if opened.tail else MOST_LINES) and opened.tail.count(end) <= half:
        return data
    rest = data.split(end, half)[half:]
    dropped = rest[0] if rest else b""
    last = opened.tail or dropped
    opened.tail = end.join(last.rsplit(end, half)[-half:])
    opened.skipped += len(dropped) - len(opened.tail) + (len(last) if last is not dropped else 0)
    return data[: len(data) - len(dropped)]


def _parse_events(opened: Opened, data: bytes) -> None:
    for event in sse.parse(data):
        if event.data.strip() == DONE:
            continue
        try:
            value = json.loads(event.data)
        except (ValueError, RecursionError):
            value = None  # not of this API, or cut off within the event
        if isinstance(value, dict) and opened.events is not None:
            opened.events.append(_named(event.type, value))
        else:
            opened.unparsed += 1


def _named(name: str, value: Json) -> Json:
    """An event with its name. Thread streams name an error only so: its data is the bare error object."""
    if name == "error" and value.get("type") != "error" and "error" not in value:
        return {"type": "error", "error": value}
    if name != "message" and "type" not in value and "object" not in value:
        return {"type": name, **value}
    return value


def _from_next_event(tail: bytes) -> bytes:
    """The part of a stream's end that begins with a whole event."""
    starts = [at + len(end) for end in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := tail.find(end)) >= 0]
    return tail[min(starts) :] if starts else b""
