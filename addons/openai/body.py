"""A message's body, opened: decoded, and read as JSON, as an event stream, as a form, or as text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any

from addons.openai import sse
from addons.openai.encoding import decode
from addons.openai.messages import Headers, Request, Response

Json = dict[str, Any]

DONE = "[DONE]"


@dataclass(slots=True)
class Opened:
    """What a body holds; exactly one of `value`, `events` and `text` is set, or none for bytes."""

    value: Any = None
    """Parsed JSON, or the fields of a form."""
    events: list[Json] | None = None
    """The JSON objects of an event stream, in order; an event's name is added as `type` where it has none."""
    text: str | None = None
    tail: bytes = b""
    """The decoded end of a body whose middle is missing."""
    truncated: list[str] = field(default_factory=list)
    """Why the body is not whole."""
    undecodable: bool = False


def header(headers: Headers, name: str) -> str:
    """All values of a header, joined; empty where there is none."""
    return ",".join(value for key, value in headers if key.lower() == name)


def open_body(message: Request | Response) -> Opened:
    """Decode and parse, as far as the body goes. Never raises."""
    coding = header(message.headers, "content-encoding")
    if message.skipped:
        # A cut body was decoded on its way, or its end could not be read.
        coding = ""
    data, error = decode(message.body, coding)
    opened = Opened(tail=message.tail)
    if error:
        opened.truncated.append(error)
        opened.undecodable = not data
    if message.skipped:
        opened.truncated.append(f"{message.skipped} bytes in the middle were not kept")
    _parse(opened, data, header(message.headers, "content-type"))
    return opened


def _parse(opened: Opened, data: bytes, content_type: str) -> None:
    kind = content_type.lower()
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:6]
    if not start and not opened.tail:
        return
    if kind.startswith("multipart/form-data"):
        opened.value = _form(content_type, data)
    elif start[:1] in (b"{", b"["):
        _parse_json(opened, data)
    elif kind.startswith("text/event-stream") or start.startswith((b"data:", b"event:", b":", b"id:")):
        opened.events = _events(data) + (_events(_from_next_event(opened.tail)) if opened.tail else [])
    elif kind.startswith(("text/", "application/")) and not kind.startswith("application/octet-stream"):
        opened.text = data.decode("utf-8", "replace")


def _parse_json(opened: Opened, data: bytes) -> None:
    try:
        opened.value = json.loads(data)
    except (ValueError, RecursionError):
        opened.text = data.decode("utf-8", "replace")


def _events(data: bytes) -> list[Json]:
    found = []
    for event in sse.parse(data):
        if event.data.strip() == DONE:
            continue
        try:
            value = json.loads(event.data)
        except (ValueError, RecursionError):
            continue  # not of this API, or cut off within the event
        if isinstance(value, dict):
            if event.type != "message" and "type" not in value:
                value = {"type": event.type, **value}
            found.append(value)
    return found


def _from_next_event(tail: bytes) -> bytes:
    """The part of a stream's end that begins with a whole event."""
    starts = [at + len(end) for end in (b"\n\n", b"\r\n\r\n", b"\r\r") if (at := tail.find(end)) >= 0]
    return tail[min(starts) :] if starts else b""


def _form(content_type: str, data: bytes) -> Json:
    """The fields of a form; of a file only its name and size."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser().parsebytes(head + data)
    fields: Json = {}
    for part in message.walk():
        if part is message:
            continue
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            continue
        filename = part.get_filename()
        fields[name] = (
            {"filename": filename, "bytes": len(content)} if filename else content.decode("utf-8", "replace")
        )
    return fields
