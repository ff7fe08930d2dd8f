"""Exchanges of our own writing, one file each, in a form that reads like HTTP.

::

    # what the file shows
    POST /v1/chat/completions         or a whole URL, of another host
    content-type: application/json

    {"model": ...}
    =====
    200                      "200 broken": the connection broke off; "200 CRLF": the body's lines end so
    content-type: text/event-stream

    data: ...
    =====
    {"model": ...}           what is expected of the summary; objects may name a part of what is there.
                             Under "event": what is expected of the call's event, by dotted names

In a request's body `{{base64 ...}}` stands for bytes that are no text.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from addons.openai import Request, Response

FOLDER = Path(__file__).parent
SEPARATOR = "\n=====\n"
BYTES = re.compile(rb"\{\{base64 ([A-Za-z0-9+/=]+)\}\}")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One exchange, plain, and what is to be understood of it."""

    name: str
    request: Request
    response: Response
    expected: dict[str, Any]
    event: dict[str, Any]
    """Of the event, by dotted names; mostly empty."""

    @property
    def url(self) -> str:
        """The whole URL; a file that names no host is of OpenAI's."""
        return urljoin("https://api.openai.com", self.request.url)

    @property
    def is_text(self) -> bool:
        """Whether the request is text, which all recordings can hold."""
        return self.request.body.decode(errors="ignore").encode() == self.request.body

    @property
    def is_stream(self) -> bool:
        return dict(self.response.headers)["content-type"].startswith("text/event-stream")


def read_message(text: str) -> tuple[str, list[tuple[str, str]], bytes]:
    head, _, body = text.partition("\n\n")
    first, *lines = [line for line in head.splitlines() if not line.startswith("#")]
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return first, headers, body.encode()


def _load(path: Path) -> Scenario:
    asked, answered, expected = path.read_text(encoding="utf-8").split(SEPARATOR)
    line, request_headers, request_body = read_message(asked)
    status, response_headers, response_body = read_message(answered)
    if dict(request_headers).get("content-type", "").startswith("multipart/"):
        request_body = request_body.replace(b"\n", b"\r\n")  # RFC 2046: a form's lines end so
    request_body = BYTES.sub(lambda found: base64.b64decode(found[1]), request_body)
    method, url = line.split(" ")
    number, *how = status.split(" ")
    wanted = json.loads(expected)
    if "CRLF" in how:
        response_body = response_body.replace(b"\n", b"\r\n")
    return Scenario(
        path.stem,
        Request(method, url, request_headers, request_body),
        Response(int(number), response_headers, response_body, complete="broken" not in how),
        wanted,
        wanted.pop("event", {}),
    )


SCENARIOS = {path.stem: _load(path) for path in sorted(FOLDER.glob("*.http"))}


def contains(found: Any, expected: Any) -> bool:
    """Whether `found` has all that `expected` names; lists are compared whole.

    >>> contains({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2}})
    True
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and contains(found[key], value) for key, value in expected.items())
    return bool(found == expected)
