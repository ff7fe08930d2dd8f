"""JSON or protobuf over HTTP, kept alive, with every failure sorted by who can mend it.

::

    2xx                                        taken: the answer comes back
    400, 409, 413, 415, 422                    Refused: it is this body that is wrong
    500                                        Failed: this body may be to blame, or it is down
    429, 408, 425, other 5xx, the network      Unavailable: time may heal it
    all else (401, 403, 404, 3xx ...)          Misconfigured: a person must
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3

from dispatch.errors import DeliveryError, Misconfigured, Unavailable

BODY_IS_WRONG = frozenset({400, 409, 413, 415, 422})
LATER = frozenset({408, 425, 429})
CONNECT_SECONDS = 5.0
QUOTED = 300
"""Characters of an answer that are quoted in an error."""


class Refused(DeliveryError):
    """The backend will not take this body. Sinks turn it into rejected events; nobody else sees it."""


class Failed(Unavailable):
    """The backend broke down over this request: see :mod:`dispatch.sinks.isolate`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a 2xx."""

    status: int
    body: bytes


class Endpoint:
    """One URL of one backend. May be used by several threads."""

    def __init__(
        self,
        sink: str,
        url: str,
        headers: Mapping[str, str],
        *,
        read_seconds: float = 30.0,
        connections: int = 1,
    ) -> None:
        """`sink` begins every error text. Raises Misconfigured where `url` is none."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misconfigured(f"{sink}: {url!r} is no http or https URL.")
        self.url = url
        self._sink = sink
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
            retries=False,  # in one place only: dispatch.delivery
        )

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send. Raises Refused, Unavailable, Misconfigured."""
        try:
            answer = self._pool.request(
                "POST", self.url, body=body, headers={**self._headers, **(headers or {})}, redirect=False
            )
            found = answer.data
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{self._sink}: {self.url}: {_reason(error)}") from error
        if 200 <= answer.status < 300:
            return Answer(answer.status, found)
        quoted = " ".join(found[: QUOTED * 4].decode("utf-8", "replace").split())[:QUOTED]
        text = f"{self._sink}: {self.url} answers {answer.status}{': ' if quoted else ''}{quoted}"
        if answer.status in BODY_IS_WRONG:
            raise Refused(text)
        if answer.status == 500:
            raise Failed(text, retry_after=seconds_to_wait(answer.headers.get("retry-after")))
        if answer.status in LATER or answer.status >= 500:
            raise Unavailable(text, retry_after=seconds_to_wait(answer.headers.get("retry-after")))
        if answer.status in {401, 403}:
            text += " (is the key right, and does it have the right to write?)"
        raise Misconfigured(text)

    def close(self) -> None:
        self._pool.clear()


def seconds_to_wait(value: str | None) -> float | None:
    """Of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3); None for neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    """Without the pool's address and the chain of wrappers."""
    inner = getattr(error, "reason", None)
    text = str(inner if isinstance(inner, BaseException) else error)
    return text.rpartition("): ")[2] or type(error).__name__
