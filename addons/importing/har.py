"""Read HAR 1.2 (W3C Web Performance Group's draft), as browsers, proxies and test recorders write it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from addons.importing.exchange import Damaged, Recorded
from addons.importing.sessions import split
from addons.openai.realtime.realtime import Frame

Json = Mapping[str, Any]


def read(file: BinaryIO) -> Iterator[Recorded]:
    """Give the entries of a file. Raises Damaged; the whole entries before the damage are given first."""
    text = file.read().decode("utf-8-sig", "replace")
    try:
        log = json.loads(text).get("log")
    except (ValueError, AttributeError, RecursionError) as error:
        yield from _salvaged(text)
        raise Damaged(str(error)) from error
    entries = log.get("entries") if isinstance(log, Mapping) else None
    if not isinstance(entries, list):
        raise Damaged("log.entries is missing")
    for number, entry in enumerate(entries):
        yield from _entry(entry, number)


def _salvaged(text: str) -> Iterator[Recorded]:
    """Give the whole entries at the beginning of a file that is not whole."""
    start = text.find("[", text.find('"entries"'))
    decoder = json.JSONDecoder()
    number = 0
    while start >= 0:
        start += 1
        while text[start : start + 1].isspace():
            start += 1
        try:
            entry, start = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        yield from _entry(entry, number)
        number += 1
        while text[start : start + 1].isspace():
            start += 1
        if text[start : start + 1] != ",":
            return


def _entry(entry: Any, number: int) -> list[Recorded]:
    try:
        recorded, messages = parse(entry), entry.get("_webSocketMessages")
        return list(split(recorded, _frames(messages))) if messages else [recorded]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"entry {number}: {error!r}") from error


def parse(entry: Any) -> Recorded:
    """Give one entry of ``log.entries``."""
    request, response = entry["request"], entry.get("response") or {}
    status = response.get("status") or None
    started = entry.get("startedDateTime")
    wait = (entry.get("timings") or {}).get("wait")
    error = entry.get("_error") or response.get("_error")
    return Recorded(
        method=str(request["method"]),
        url=str(request["url"]),
        request_headers=_pairs(request.get("headers")),
        request_body=_request_body(request.get("postData")),
        status=status if isinstance(status, int) and status > 0 else None,
        response_headers=_pairs(response.get("headers")),
        response_body=_content(response.get("content")),
        decoded=True,
        started_at=datetime.fromisoformat(started) if isinstance(started, str) and started else None,
        duration=max(0.0, float(entry.get("time") or 0)) / 1000,
        first_byte=wait / 1000 if isinstance(wait, int | float) and wait >= 0 else None,
        outcome=_outcome(status, error),
        error=str(error) if error else None,
        key=str(entry["_id"]) if entry.get("_id") else None,
    )


def _frames(messages: Any) -> Iterator[Frame]:
    """Give the messages of a WebSocket, as browsers add them to an entry; binary ones are base64."""
    for message in messages:
        data, at = str(message.get("data") or ""), message.get("time")
        binary = message.get("opcode") == 2
        yield Frame(
            message.get("type") == "send",
            base64.b64decode(data) if binary else data.encode("utf-8", "surrogatepass"),
            float(at) if isinstance(at, int | float) else None,
        )


def _outcome(status: object, error: object) -> str:
    if not error and status and status != -1:
        return "ok"
    return "client_aborted" if "ABORTED" in str(error).upper() else "upstream_aborted"


def _pairs(headers: object) -> list[tuple[str, str]]:
    if not isinstance(headers, list):
        return []
    return [(str(item.get("name")), str(item.get("value"))) for item in headers if isinstance(item, Mapping)]


def _request_body(post: object) -> bytes:
    """Give ``text``, coded where the entry says so; else the ``params`` of a form, without files."""
    if not isinstance(post, Mapping):
        return b""
    text = post.get("text")
    if isinstance(text, str) and text:
        return _plain(text, post.get("encoding") or ("base64" if post.get("_base64") else None))
    params = [item for item in post.get("params") or [] if isinstance(item, Mapping)]
    if not params:
        return b""
    return _form(params, str(post.get("mimeType") or ""))


def _form(params: list[Json], mime_type: str) -> bytes:
    boundary = mime_type.partition("boundary=")[2].strip('"') or "params"
    parts = []
    for item in params:
        file = f'; filename="{item["fileName"]}"' if item.get("fileName") else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{item.get("name")}"{file}\r\n\r\n'
        parts.append(f"{head}{item.get('value') or ''}\r\n")
    return ("".join(parts) + f"--{boundary}--\r\n").encode()


def _content(content: object) -> bytes:
    if not isinstance(content, Mapping) or not isinstance(content.get("text"), str):
        return b""
    return _plain(content["text"], content.get("encoding"))


def _plain(text: str, encoding: object) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a body is not base64: {error}") from error
    return text.encode("utf-8", "surrogatepass")
