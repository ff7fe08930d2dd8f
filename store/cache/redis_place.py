"""Keep answers in Redis, for proxies on several machines.

Redis itself forgets what is over, and keeps its bounds (``maxmemory`` with a policy such as ``allkeys-lru``).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

from store.cache.entry import Entry, decode, encode
from store.cache.purge import Purge
from store.core.errors import Invalid
from store.core.urls import split_url

PREFIX = "llmproxy:cache:"
SECONDS = 1.0
"""It says how long Redis may take for one answer."""
PORTION = 500
"""Keys that are looked at at a time."""


class RedisPlace:
    """Works in the cache's thread. Connects when it is first used."""

    def __init__(self, url: str) -> None:
        """Take as `url` what redis-py takes, and ``?prefix=TEXT`` for the beginning of all keys.

        Raises Invalid for one that cannot be used.
        """
        parts = split_url(url)
        query = dict(parse_qsl(parts.query))
        self._prefix = query.pop("prefix", PREFIX)
        self._shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
        try:
            import redis  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise Invalid("a cache in Redis needs redis-py: install llmproxy[redis].") from error
        self._errors: tuple[type[Exception], ...] = (redis.RedisError,)
        plain = urlunsplit(parts._replace(query=urlencode(query)))
        timeouts: dict[str, Any] = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
        try:
            self._client: Any = redis.Redis.from_url(plain, protocol=2, **timeouts)
        except (ValueError, TypeError, redis.RedisError) as error:
            raise Invalid(f"{self._shown}: {error}") from error

    def get(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is kept under these keys. Raises OSError."""
        with self._told():
            found = self._client.mget([self._prefix + key for key in keys])
        entries = {key: decode(data) for key, data in zip(keys, found, strict=True) if data is not None}
        return {key: entry for key, entry in entries.items() if entry is not None}

    def put(self, entries: Sequence[tuple[str, Entry]]) -> None:
        """Keep entries, each until nothing can be done with it any more. Raises OSError."""
        pipeline = self._client.pipeline(transaction=False)
        for key, entry in entries:
            milliseconds = int((entry.kept_until() - time.time()) * 1000)
            if milliseconds > 0:
                pipeline.set(self._prefix + key, encode(entry), px=milliseconds)
        with self._told():
            pipeline.execute()

    def purge(self, purge: Purge) -> int:
        """Remove what fits; return how many answers that were. Looks at every entry. Raises OSError."""
        answers = 0
        with self._told():
            pattern = f"{self._prefix}{purge.key or ''}*"
            names: list[bytes] = []
            for name in self._client.scan_iter(match=pattern, count=PORTION):
                names.append(name)
                if len(names) >= PORTION:
                    answers += self._purge(purge, names)
                    names = []
            answers += self._purge(purge, names) if names else 0
        return answers

    def tidy(self) -> None:
        """Leave it to Redis, which does it by itself."""

    def close(self) -> None:
        with suppress(*self._errors):
            self._client.close()

    def _purge(self, purge: Purge, names: Sequence[bytes]) -> int:
        gone: list[bytes] = []
        answers = 0
        for name, data in zip(names, self._client.mget(names), strict=True):
            entry = None if data is None else decode(data)
            if entry is not None and purge.fits(name.decode().removeprefix(self._prefix), entry):
                gone.append(name)
                answers += entry.varies is None
        if gone:
            self._client.unlink(*gone)
        return answers

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise errors of Redis as OSError, with the address and without the password."""
        try:
            yield
        except self._errors as error:
            raise OSError(errno.EIO, f"Redis: {error}", self._shown) from error
