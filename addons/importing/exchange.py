"""Make one recorded exchange what the worker takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID, uuid5

from addons.flow.capture import Body
from addons.flow.credential import is_credential
from addons.openai.endpoints import guess
from addons.openai.http.body import header
from addons.openai.http.encoding import decode
from addons.openai.providers import provider_of
from addons.recording.exchange import Exchange
from store.core.secret import Secret
from store.core.urls import split_url

NAMESPACE = UUID("8c5d0f5e-6f0c-5c63-9d5a-3b5a9a3f7e21")
"""It is that of the ids of imported events: the same exchange gets the same one, whenever it is imported."""

NO_DEPLOYMENTS: Mapping[str, str] = {}

Headers = Sequence[tuple[str, str]]


class Unreadable(Exception):
    """Says that a file has none of the known forms."""


class Damaged(Exception):
    """Says that a file breaks off or holds something else from some position on; the text names it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Holds an exchange as a recording has it."""

    method: str
    url: str
    """Whole, with scheme and host."""
    request_headers: Headers = ()
    request_body: bytes = b""
    status: int | None = None
    response_headers: Headers = ()
    response_body: bytes = b""
    decoded: bool = False
    """It tells whether the bodies are plain although the headers name a content coding."""
    started_at: datetime | None = None
    duration: float = 0.0
    """Seconds."""
    first_byte: float | None = None
    """Seconds from the start to the answer's first byte."""
    outcome: str = "ok"
    error: str | None = None
    client_address: str | None = None
    key: str | None = None
    """It is what tells the exchange apart from others: an id of the recording's own."""


def to_exchange(
    recorded: Recorded, *, repeat: int = 0, deployments: Mapping[str, str] = NO_DEPLOYMENTS
) -> Exchange:
    """Give what the worker would have been handed.

    `repeat` counts equal exchanges without ids of their own; `deployments` are the models of Azure's.
    """
    url = split_url(recorded.url)
    path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
    exchange = Exchange(
        id=event_id(recorded, repeat),
        method=recorded.method.upper(),
        host=url.hostname or "",
        url=path,
        endpoint=guess(recorded.method, url.path).name,
        started_at=recorded.started_at or _date(recorded.response_headers) or datetime.now(UTC),
        started=0.0,
        ended=recorded.duration,
        outcome=recorded.outcome,
        request_headers=_headers(recorded.request_headers, decoded=recorded.decoded),
        request_body=Body(recorded.request_body, size=len(recorded.request_body)),
        error_message=recorded.error,
        client_address=recorded.client_address,
        provider=provider_of(url.hostname or "", url.path, deployments),
        secrets=[Secret(text) for text in _credentials(recorded.request_headers)],
    )
    if recorded.status:
        exchange.status = recorded.status
        plain = recorded.decoded and not _is_coded(recorded.response_headers, recorded.response_body)
        exchange.response_headers = _headers(recorded.response_headers, decoded=plain)
        exchange.response_body = Body(recorded.response_body, size=len(recorded.response_body))
        exchange.first_byte_at = recorded.first_byte
    return exchange


def event_id(recorded: Recorded, repeat: int = 0) -> str:
    """Give the same for the same exchange, so that a second import adds nothing."""
    if recorded.key is not None:
        return str(uuid5(NAMESPACE, recorded.key))
    started = recorded.started_at.isoformat() if recorded.started_at else ""
    parts = (recorded.method, recorded.url, started, str(recorded.status), str(repeat))
    digest = hashlib.sha256(json.dumps(parts).encode())
    for body in (recorded.request_body, recorded.response_body):
        digest.update(hashlib.sha256(body).digest())
    return str(uuid5(NAMESPACE, digest.hexdigest()))


def _headers(headers: Headers, *, decoded: bool) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in headers
        if not is_credential(name) and not (decoded and name.lower() == "content-encoding")
    ]


def _is_coded(headers: Headers, body: bytes) -> bool:
    """Tell whether a body that should be plain is still as its headers say: some recorders keep it so."""
    if not body or body.lstrip()[:1] in b"{[" or body.startswith((b"data:", b"event:", b":")):
        return False
    coding = header(headers, "content-encoding")
    data, error = decode(body, coding) if coding else (b"", None)
    return error is None and bool(data)


def _credentials(headers: Headers) -> list[str]:
    values = [value for name, value in headers if is_credential(name)]
    return [value.removeprefix("Bearer ").strip() for value in values]


def _date(headers: Headers) -> datetime | None:
    """Give the answer's own date, where the recording has no time."""
    for name, value in headers:
        if name.lower() == "date":
            try:
                moment = parsedate_to_datetime(value)
            except ValueError:
                return None
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
