"""Connect to Redis, and find what of a stream every consumer group is done with."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

from store.core.urls import NOTHING, split_url

STREAM = "llmproxy:events"
SOCKET_SECONDS = 10.0
RETRIES = 6
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "rediss+cluster")

Id = tuple[int, int]
"""A stream's entry: milliseconds and a counter."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Says what a stream holds, in one answer of Redis."""

    oldest: Id | None
    """Its first entry; None: it is empty."""
    deleted: Id | None
    """The highest id that was ever deleted one by one (XDEL). None: this server does not tell (before 7)."""
    added: int | None
    """Entries since it was created. Falls only when the stream was lost. None: this server does not tell."""


class BadBus(Exception):
    """The URL can't be used. One line, without the password."""


class Link:
    """Holds a client and a stream. Raises BadBus; connects when it is first used."""

    def __init__(self, url: str) -> None:
        """Take as `url` what redis-py takes, and ``?stream=NAME``.

        ``redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT ...]/SERVICE[/DB]`` asks Sentinels for the
        master; ``redis+cluster://HOST:PORT`` is a cluster, and ``rediss`` anything over TLS.
        """
        parts = split_url(url)
        if parts is NOTHING:  # it may hold a password, which can't be told apart
            raise BadBus(
                "bus: its URL has no host and port that can be read; write it like redis://HOST:6379/0."
            )
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
        """Raise errors of Redis as OSError, with the address and without the password."""
        try:
            yield
        except self._errors as error:
            raise OSError(errno.EIO, f"Redis: {error}", self.shown) from error

    def server(self) -> str:
        """Identify one life of one server; a restart or a failover gives another. Empty for a cluster."""
        info = self.client.info("server")
        return str(info.get("run_id", "")) if isinstance(info, dict) else ""

    def groups(self) -> list[dict[str, Any]]:
        """Give the consumer groups; none where there is no stream."""
        try:
            found: list[dict[str, Any]] = self.client.xinfo_groups(self.stream)
        except self.response_error:
            return []
        return found

    def state(self) -> StreamState | None:
        """Give what the stream holds; None where there is none."""
        try:
            found = self.client.xinfo_stream(self.stream)
        except self.response_error as error:
            if "no such key" in str(error):
                return None
            raise
        first, deleted = found.get("first-entry"), found.get("max-deleted-entry-id")
        return StreamState(
            oldest=parse(first[0]) if first else None,
            deleted=None if deleted is None else parse(deleted),
            added=found.get("entries-added"),
        )

    def add(self, lines: Sequence[bytes]) -> list[Id]:
        """Publish `lines`, in order. Returns their ids."""
        pipeline = self.client.pipeline(transaction=False)
        for line in lines:
            pipeline.xadd(self.stream, {"line": line})
        return [parse(entry) for entry in pipeline.execute()] if lines else []

    def missing(self, ids: Sequence[Id]) -> list[Id]:
        """Give those of `ids` that are not in the stream any more. Reads every one of them back."""
        pipeline = self.client.pipeline(transaction=False)
        for milliseconds, counter in ids:
            entry = f"{milliseconds}-{counter}"
            pipeline.xrange(self.stream, entry, entry)
        return [entry for entry, found in zip(ids, pipeline.execute(), strict=True) if not found]

    def create_group(self, name: str | bytes) -> None:
        """Create a consumer group that reads from the first entry on, and the stream where it is missing."""
        try:
            self.client.xgroup_create(self.stream, name, id="0", mkstream=True)
        except self.response_error as error:
            if "BUSYGROUP" not in str(error):
                raise

    def done_before(self) -> Id | None:
        """Give the id below which no group holds or expects an entry; None where there is no group.

        An entry below it was acknowledged by every group only if the stream still has it: what somebody
        trims or deletes is passed over by the groups without a word.

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
    """Give an entry's id as two numbers."""
    milliseconds, _, counter = (entry.decode() if isinstance(entry, bytes) else entry).partition("-")
    return int(milliseconds), int(counter or 0)


def shown(url: str) -> str:
    """Give the URL without user and password."""
    parts = split_url(url)
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

    parts = split_url(url)
    _, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("name the service behind the Sentinels: redis+sentinel://HOST:PORT/SERVICE")
    addresses = [(host.rpartition(":")[0], int(host.rpartition(":")[2])) for host in hosts.split(",")]
    own = {"username": parts.username, "password": parts.password, "db": int(database or 0)}
    sentinel = Sentinel(addresses, socket_timeout=SOCKET_SECONDS)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, **own, **settings)  # type: ignore[no-untyped-call]
