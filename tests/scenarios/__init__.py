"""Exchanges of our own writing, one file each, in a form that reads like HTTP.

::

    # what the file shows
    POST /v1/chat/completions
    content-type: application/json

    {"model": ...}
    =====
    200                      "200 broken": the connection broke off; "200 CRLF": the body's lines end so
    content-type: text/event-stream

    data: ...
    =====
    {"model": ...}           what is expected of the summary; objects may name a part of what is there
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.openai import Request, Response

FOLDER = Path(__file__).parent
SEPARATOR = "\n=====\n"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One exchange, plain, and what is to be understood of it."""

    name: str
    request: Request
    response: Response
    expected: dict[str, Any]

    @property
    def is_stream(self) -> bool:
        return dict(self.response.headers)["content-type"].startswith("text/event-stream")


def _message(text: str) -> tuple[str, list[tuple[str, str]], bytes]:
    head, _, body = text.partition("\n\n")
    first, *lines = [line for line in head.splitlines() if not line.startswith("#")]
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return first, headers, body.encode()


def _load(path: Path) -> Scenario:
    asked, answered, expected = path.read_text(encoding="utf-8").split(SEPARATOR)
    line, request_headers, request_body = _message(asked)
    status, response_headers, response_body = _message(answered)
    if dict(request_headers).get("content-type", "").startswith("multipart/"):
        request_body = request_body.replace(b"\n", b"\r\n")  # RFC 2046: a form's lines end so
    method, url = line.split(" ")
    number, *how = status.split(" ")
    if "CRLF" in how:
        response_body = response_body.replace(b"\n", b"\r\n")
    return Scenario(
        path.stem,
        Request(method, url, request_headers, request_body),
        Response(int(number), response_headers, response_body, complete="broken" not in how),
        json.loads(expected),
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
