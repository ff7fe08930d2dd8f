"""Send JSON or protobuf over HTTP, kept alive, with every failure sorted by who can mend it.

::

    2xx                                        the answer comes back; the sink reads whether it was taken
    a web page, with 413 or 5xx as below       Misconfigured: a proxy or a login page answers, not the backend
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

import urllib3

from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from store.core.urls import split_url

BODY_IS_WRONG = frozenset({400, 409, 413, 415, 422})
LATER = frozenset({408, 425, 429})
CONNECT_SECONDS = 5.0
LONGEST_ANSWER = 16 * 2**20
"""Bytes."""
QUOTED = 300
"""Characters of an answer that are quoted in an error."""


class Refused(DeliveryError):
    """The backend will not take this body. Sinks turn it into rejected events; nobody else sees it."""


class Failed(Unavailable):
    """The backend broke down over this request: see :mod:`dispatch.sinks.isolate`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Holds what came back with a 2xx."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    """Names in any case."""


class Endpoint:
    """Posts to one URL of one backend. May be used by several threads."""

    def __init__(
        self,
        sink: str,
        url: str,
        headers: Mapping[str, str],
        *,
        read_seconds: float = 30.0,
        connections: int = 1,
        secret: bool = False,
    ) -> None:
        """Begin every error text with `sink`. Raises Misconfigured where `url` is none.

        `secret`: no text shows more of `url` than its host.
        """
        parts = split_url(url)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..." if secret else url
        """It is the URL as it may be shown."""
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misconfigured(f"{sink}: {self.url!r} is no http or https URL.")
        self._url = url
        self._hidden = url.partition(parts.netloc)[2].strip("/") if secret else ""
        self._sink, self._seconds = sink, read_seconds
        self._headers = dict(headers)
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
            retries=False,  # in one place only: dispatch.delivery
        )

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send. Raises Refused, Unavailable, Misconfigured."""
        answer, found = self._request("POST", body, headers or {})
        if _is_page(answer.headers.get("content-type", ""), found) and (
            answer.status < 500 and answer.status != 413
        ):
            raise self.stranger(answer.status, found)
        if 200 <= answer.status < 300:
            return Answer(answer.status, found, answer.headers)
        quoted = self._quoted(found)
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

    def stranger(self, status: int, body: bytes) -> Misconfigured:
        """Give the error for an answer that the backend can't have given."""
        return Misconfigured(
            f"{self._sink}: {self.url} answers {status} with what is not {self._sink}'s: "
            f"{self._quoted(body)!r}; "
            "is a proxy or a login page in between (HTTPS_PROXY, NO_PROXY), or is the endpoint wrong?"
        )

    def reach(self) -> int:
        """Ask for the head of the resource, which changes nothing; return the status. Raises Unavailable."""
        return self._request("HEAD", None, {})[0].status

    def close(self) -> None:
        self._pool.clear()

    def _request(
        self, method: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        try:
            answer = self._pool.request(
                method,
                self._url,
                body=body,
                headers={**self._headers, **headers},
                redirect=False,
                preload_content=False,
            )
            try:
                return answer, self._read(answer)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{self._sink}: {self.url}: {self._shown(_reason(error))}") from error

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Read an answer that is neither too long nor too slow; of any other the rest is left."""
        found, until = bytearray(), time.monotonic() + self._seconds
        while piece := answer.read1(65536):
            found += piece
            if len(found) > LONGEST_ANSWER or time.monotonic() > until:
                answer.close()
                raise Unavailable(f"{self._sink}: {self.url}: the answer does not end")
        return bytes(found)

    def _quoted(self, body: bytes) -> str:
        return self._shown(" ".join(body[: QUOTED * 4].decode("utf-8", "replace").split())[:QUOTED])

    def _shown(self, text: str) -> str:
        return text.replace(self._hidden, "...") if self._hidden else text


def _is_page(content_type: str, body: bytes) -> bool:
    """Tell whether an answer is for a browser. No backend here gives one for its own route."""
    begin = body[:100].lstrip().lower()
    return "html" in content_type.lower() or begin.startswith((b"<!doctype html", b"<html"))


def seconds_to_wait(value: str | None) -> float | None:
    """Read how many seconds a Retry-After header asks for; None where it holds none.

    It holds seconds or a date (RFC 9110, 10.2.3).
    """
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
    """Give the reason without the pool's address and the chain of wrappers."""
    inner = getattr(error, "reason", None)
    text = str(inner if isinstance(inner, BaseException) else error)
    return text.rpartition("): ")[2] or type(error).__name__
