"""Take known secrets out of an answer that streams, as it passes; nothing waits that is none.

Only where a piece ends with what a secret begins with, that end waits for the next piece: no event of a
stream ends so, as an event ends with a blank line. Of answers with a content coding nothing is seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from mitmproxy import http

from addons.flow.call import Call
from addons.openai.http.encoding import codings_of
from store.core.redaction import REDACTED, SHORTEST

logger = logging.getLogger(__name__)

Tap = Callable[[bytes], bytes | Sequence[bytes]]


class StreamScrub:
    """Bytes in, in pieces of any size, and out again, with each secret overwritten.

    The length stays, so that a `Content-Length` does, too.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [one.encode() for one in secrets if len(one) >= SHORTEST]
        self._bytes = frozenset(b"".join(self._secrets))
        """All that a piece which ends within a secret can end with: no line end, as events do."""
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what may pass; an end that may be the beginning of a secret is held."""
        if self._held:
            data, self._held = self._held + data, b""
        data = self.hide(data)
        if not data or data[-1] not in self._bytes:
            return data
        if begun := max((_begun(data, secret) for secret in self._secrets), default=0):
            data, self._held = data[:-begun], data[-begun:]
        return data

    def finish(self) -> bytes:
        """Give what was held: it was no secret."""
        held, self._held = self._held, b""
        return held

    def hide(self, data: bytes) -> bytes:
        """Put something else in the place of each secret that is whole in `data`."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, REDACTED.encode()[: len(secret)].ljust(len(secret), b"*"))
        return data


def _begun(data: bytes, secret: bytes) -> int:
    """Count the bytes at the end of `data` with which `secret` begins."""
    at = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
    while at >= 0 and not secret.startswith(data[at:]):
        at = data.find(secret[:1], at + 1)
    return len(data) - at if at >= 0 else 0


def tap(call: Call, response: http.Response, inner: Tap) -> Tap:
    """Wrap `inner` to get the answer without the call's secrets; `inner` alone where they cannot be seen."""
    if not call.secrets or codings_of(",".join(response.headers.get_all("content-encoding"))):
        return inner
    scrub, broken = StreamScrub(secret.reveal() for secret in call.secrets), False

    def scrubbed(data: bytes) -> bytes | Sequence[bytes]:
        """Pass a piece on, scrubbed.

        Never raises, and never gives an empty piece, which would end the client's stream.
        """
        nonlocal broken
        if broken:
            return inner(data)
        try:
            clean = scrub.feed(data) if data else scrub.finish()
        except Exception:
            broken = True
            logger.exception("llmproxy: an answer is no longer looked through for known secrets")
            return inner(data)
        if data:
            return inner(clean) if clean else []
        return [*_pieces(inner(clean)), *_pieces(inner(b""))] if clean else inner(b"")

    return scrubbed


def _pieces(passed: bytes | Sequence[bytes]) -> Sequence[bytes]:
    if isinstance(passed, bytes):
        return [passed] if passed else []
    return passed
