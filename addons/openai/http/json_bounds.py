"""Bound how much of a JSON text is read, by its bytes and before it is parsed.

A parser turns two bytes (``{}``) into an object of a hundred, in microseconds each and in one breath: what
a few kilobytes on the wire stand for can fill the memory and stop all other work of the process.
"""

from __future__ import annotations

import re

MOST_BYTES = 64 * 2**20
"""Decoded bytes of a body; the API takes 50 MB of pictures in one request."""
FREE_BYTES = 2**20
"""Decoded bytes that any coded body may have, whatever its size on the wire."""
MOST_RATIO = 100
"""Decoded bytes of one coded byte beyond those; JSON rarely has more than ten."""
MOST_NODES = 1_000_000
"""Values of one body; a request for 2,048 embeddings of whole contexts, given as tokens, may have so many."""
FEW_BYTES, FEW_NODES = 2 * 2**20, 20_000
"""It is what is parsed in milliseconds."""
LIGHT_BYTES, LIGHT_NODES = 256 * 2**10, 4_000
"""It is what is parsed in less than one, and looked through in a few."""

RECORDED_NODES = 100_000
"""Values of a body that is parsed for its event; a longer one is kept as the text of its two ends."""

STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def decoded_limit(size: int) -> int:
    """Give the bytes to which a coded body of `size` bytes may be decoded."""
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * size))


def is_heavy(data: bytes) -> bool:
    """Check whether parsing `data` may take so long that others notice it. Takes a millisecond."""
    return len(data) > FEW_BYTES or _may_have_more(data, FEW_NODES)


def is_light(data: bytes) -> bool:
    """Check whether parsing `data` takes less time than to hand it to a thread, and to wait for that."""
    return len(data) <= LIGHT_BYTES and not _may_have_more(data, LIGHT_NODES)


def problem_of(data: bytes) -> str | None:
    """Say why `data` is not to be parsed at all; takes a while for what is heavy.

    >>> problem_of(b'["' + b"," * 2_000_000 + b'"]'), problem_of(b"[" + b"{}," * 1_000_000 + b"{}]")
    (None, 'it has more than 1,000,000 values')
    """
    if len(data) > MOST_BYTES:
        return f"it has more than {MOST_BYTES // 2**20} MiB"
    if has_more_values(data, MOST_NODES):
        return f"it has more than {MOST_NODES:,} values"
    return None


def has_more_values(data: bytes, most: int) -> bool:
    """Check whether a JSON text has more than `most` values; quickly where it does not look like it."""
    return _may_have_more(data, most) and _marks(STRING.sub(b"", data)) > most


def _may_have_more(data: bytes, most: int) -> bool:
    return len(data) > most and _marks(data) > most


def _marks(data: bytes) -> int:
    """Give at least the number of values: each is the first of a container, or follows a comma."""
    return data.count(b",") + data.count(b"{") + data.count(b"[")
