"""Requests that real clients send, one file for each client, recorded and trimmed: texts are cut to "(text)".

::

    # the client and its version
    POST /v1/responses
    content-type: application/json

    {"model": ...}
    =====
    {"endpoint": ..., "model": ..., "objects": [...]}      what the proxy has to read in it
    =====
    POST /v1/responses                                     the next request
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addons.openai import Request
from tests.scenarios import SEPARATOR, read_message

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of a client, and what is to be read in it."""

    client: str
    request: Request
    expected: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.client} {self.request.method} {self.request.path}"


def _load(path: Path) -> list[Sent]:
    parts = path.read_text(encoding="utf-8").split(SEPARATOR)
    sent = []
    for asked, expected in zip(parts[::2], parts[1::2], strict=True):
        line, headers, body = read_message(asked)
        method, url = line.split(" ")
        if dict(headers).get("content-type", "").startswith("multipart/"):
            body = body.rstrip(b"\n").replace(b"\n", b"\r\n")  # RFC 2046: a form's lines end so
        sent.append(Sent(path.stem, Request(method, url, headers, body), json.loads(expected)))
    return sent


CLIENTS = {path.stem: _load(path) for path in sorted(FOLDER.glob("*.http"))}
