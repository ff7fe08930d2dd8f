"""The connection to Redis, and what of a stream every consumer group is done with."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

STREAM = "llmproxy:events"
SOCKET_SECONDS = 10.0
RETRIES = 6
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster")

Id = tuple[int, int]
"""A stream's entry: milliseconds and a counter."""


class BadBus(Exception):
    """The URL can't be used. One line, without the password."""


class Link:
    """A client and a stream. Raises BadBus; connects when it is first used."""

    def __init__(self, url: str) -> None:
        """`url` is what redis-py takes, and ``?stream=NAME``.

        ``redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT ...]/SERVICE[/DB]`` asks Sentinels for the
        master; ``redis+cluster://HOST:PORT`` is a cluster, and ``rediss`` anything over TLS.
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise BadBus(f"bus {shown(url)!r}: write one of {', '.join(f'{name}://' for name in SCHEMES)}.")
        query = dict(parse_qsl(parts.query))
        self.stream = query.pop("stream", STREAM)
        self.shown = shown(url)
        plain = urlunsplit(parts._replace(scheme=parts.scheme.partition("+")[0], query=urlencode(query)))
        try:
            import redis  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise BadBus("a bus needs redis-py: install llmproxy[redis].") from error
        self._errors: tuple[type[Exception], ...] = (redis.RedisError,)
        self.response_error: type[Exception] = redis.ResponseError
        try:
            self.client: Any = _client(parts.scheme, plain)
        except (ValueError, TypeError, redis.RedisError) as error:
            raise BadBus(f"bus {self.shown!r}: {error}") from error

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors of Redis as OSError, with the address and without the password."""
        try:
            yield
        except self._errors as error:
            raise OSError(errno.EIO, f"Redis: {error}", self.shown) from error

    def server(self) -> str:
        """Identifies one life of one server; a restart or a failover gives another. Empty for a cluster."""
        info = self.client.info("server")
        return str(info.get("run_id", "")) if isinstance(info, dict) else ""

    def groups(self) -> list[dict[str, Any]]:
        """The consumer groups; none where there is no stream."""
        try:
            found: list[dict[str, Any]] = self.client.xinfo_groups(self.stream)
        except self.response_error:
            return []
        return found

    def done_before(self) -> Id | None:
        """Entries below this id are acknowledged by every group; None where there is no group.

        Trimming does not look at what is pending, so no more than this may be trimmed. Read in the order
        that errs on the safe side: what a group got since the first question has higher ids.
        """
        bounds = []
        for group in self.groups():
            milliseconds, counter = parse(group["last-delivered-id"])
            bound = (milliseconds, counter + 1)
            if group["pending"]:
                lowest = self.client.xpending(self.stream, group["name"])["min"]
                bound = min(bound, parse(lowest)) if lowest else bound
            bounds.append(bound)
        return min(bounds, default=None)

    def close(self) -> None:
        with contextlib.suppress(*self._errors):
            self.client.close()


def parse(entry: bytes | str) -> Id:
    """An entry's id as two numbers."""
    milliseconds, _, counter = (entry.decode() if isinstance(entry, bytes) else entry).partition("-")
    return int(milliseconds), int(counter or 0)


def shown(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _client(scheme: str, url: str) -> Any:
    from redis import Redis, RedisCluster  # noqa: PLC0415
    from redis.backoff import ExponentialBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    settings: dict[str, Any] = {"socket_timeout": SOCKET_SECONDS, "socket_connect_timeout": SOCKET_SECONDS}
    if scheme.endswith("+cluster"):
        return RedisCluster.from_url(url, **settings)
    # Short outages are waited for here; longer ones by whoever called. The form of answers is RESP 2's.
    settings |= {"retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES), "protocol": 2}
    if scheme.endswith("+sentinel"):
        return _sentinel(url, settings)
    return Redis.from_url(url, **settings)


def _sentinel(url: str, settings: dict[str, Any]) -> Any:
    from redis.sentinel import Sentinel  # noqa: PLC0415

    parts = urlsplit(url)
    _, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("name the service behind the Sentinels: redis+sentinel://HOST:PORT/SERVICE")
    addresses = [(host.rpartition(":")[0], int(host.rpartition(":")[2])) for host in hosts.split(",")]
    own = {"username": parts.username, "password": parts.password, "db": int(database or 0)}
    sentinel = Sentinel(addresses, socket_timeout=SOCKET_SECONDS)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, **own, **settings)  # type: ignore[no-untyped-call]
