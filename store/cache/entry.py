"""Hold what is kept of an answer."""

from __future__ import annotations

import msgspec

FORM = 1
"""Number of this form of entries; others are taken for misses."""
LONGEST_LIFETIME = 31 * 86400
"""Seconds for which an answer is kept at most."""
KEEP_STALE_SECONDS = 3600.0
"""It says how much longer an answer is kept that upstream can confirm."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Holds one answer; or, under the key of its request, the fields by which its answers differ."""

    form: int
    project_id: str
    method: str
    target: str
    """Path and query of the request, the parameters in order."""
    requested_at: float
    """It says when the request came, in seconds since 1970: a purge removes what was asked for before it."""
    stored_at: float
    """It says when the answer was kept, in seconds since 1970."""
    lifetime: float
    """Seconds from then on for which it is fresh."""
    age: float = 0.0
    """Seconds that it was old when it was kept."""
    varies: tuple[str, ...] | None = None
    """The names of the request's fields that tell the answers apart; None for an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    """As it came, still content-coded."""
    call_id: str = ""
    """It is that of the call that brought it."""
    shown: bytes | None = None
    """It is what clients get of the body, where that has usage that the proxy asked for; None: all of it."""
    forced: bool = False
    """It tells whether the request or the operator, and not the answer, set the lifetime."""
    checked: bool = False
    """It tells whether it must be confirmed upstream each time (``no-cache`` of the answer)."""

    @property
    def size(self) -> int:
        """Give the bytes that count against the cap: the body, the head, and what keeping an entry costs."""
        head = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.body) + len(self.shown or b"") + head + len(self.target) + 512

    @property
    def has_validator(self) -> bool:
        return any(name.lower() in ("etag", "last-modified") for name, _ in self.headers)

    def age_at(self, now: float) -> float:
        """Return its age in seconds (RFC 9111 section 4.2.3)."""
        return max(0.0, self.age + now - self.stored_at)

    def is_fresh(self, now: float) -> bool:
        return now - self.stored_at < self.lifetime

    def kept_until(self) -> float:
        """Return when nothing can be done with it any more, in seconds since 1970."""
        return self.stored_at + self.lifetime + (KEEP_STALE_SECONDS if self.has_validator else 0.0)


_DECODER = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Write an entry for a store of bytes."""
    return msgspec.msgpack.encode(entry)


def decode(data: bytes) -> Entry | None:
    """Read an entry; None for what another version has written, or what is damaged."""
    try:
        entry = _DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return entry if entry.form == FORM else None
