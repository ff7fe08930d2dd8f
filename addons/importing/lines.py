"""Read JSON Lines: one exchange a line.

Fields: ``method``, ``url``, ``status``; ``request_headers`` and ``response_headers``, an object or a list of
pairs; ``request_body`` and ``response_body`` as text (or JSON), or with ``_b64`` added to the name for bytes.
Bodies are plain, whatever Content-Encoding says. Optional: ``id``, ``started_at`` (RFC 3339), ``duration``
(in seconds).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO

from addons.importing.exchange import Damaged, Recorded

Json = Mapping[str, Any]


def read(file: BinaryIO) -> Iterator[Recorded]:
    """Give the exchanges of a file. Raises Damaged at the first line that is none."""
    for number, line in enumerate(file, 1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            yield parse(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise Damaged(f"line {number}: {error}") from error


def parse(value: object) -> Recorded:
    """Give one exchange. Raises ValueError that names what is wrong."""
    if not isinstance(value, Mapping) or not isinstance(value.get("url"), str):
        raise ValueError("not an exchange: a JSON object with method, url, status and bodies")  # noqa: TRY004
    status = value.get("status")
    if status is not None and not isinstance(status, int):
        raise ValueError(f"status {status!r} is not a number")
    started = value.get("started_at")
    duration = value.get("duration")
    return Recorded(
        method=str(value.get("method") or "POST"),
        url=value["url"],
        request_headers=_pairs(value.get("request_headers")),
        request_body=_body(value, "request_body"),
        status=status,
        response_headers=_pairs(value.get("response_headers")),
        response_body=_body(value, "response_body"),
        decoded=True,
        started_at=datetime.fromisoformat(started) if isinstance(started, str) else None,
        duration=float(duration) if isinstance(duration, int | float) else 0.0,
        outcome="ok" if status else "upstream_aborted",
        key=str(value["id"]) if value.get("id") is not None else None,
    )


def _pairs(headers: object) -> list[tuple[str, str]]:
    """Give the headers as pairs. A value may be a list: the header came several times."""
    if isinstance(headers, Mapping):
        return [
            (str(name), str(one))
            for name, value in headers.items()
            for one in (value if isinstance(value, list) else [value])
        ]
    if not isinstance(headers, list):
        return []
    return [(str(pair[0]), str(pair[1])) for pair in headers if isinstance(pair, list) and len(pair) == 2]


def _body(value: Json, name: str) -> bytes:
    if isinstance(coded := value.get(f"{name}_b64"), str):
        try:
            return base64.b64decode(coded, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name}_b64: {error}") from error
    body = value.get(name)
    if body is None:
        return b""
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
