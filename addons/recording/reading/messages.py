"""Carry messages between the proxy and its reading processes, with their length before them.

A process greets, and says which prices it has. What goes to it are prices, if it has not got them, and calls:
two pickles of the proxy's own objects. What comes back is MessagePack of plain bytes and texts, so that
nothing that clients or upstreams wrote decides what the proxy unpickles.
"""

from __future__ import annotations

import copy
import copyreg
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from addons.flow.capture import Body
from addons.recording.cost import Prices
from addons.recording.exchange import Exchange
from store.core.secret import Secret
from store.keys.project_keys import StoredKey
from store.tokens.limits import NONE
from store.tokens.models import Grant

BUNDLED_KEY = ""
"""Names the prices that come with the program: every process has those."""
READ_SECONDS = 60.0
"""Longest that a process may take for one message."""
Message = bytes | bytearray
_LENGTH = struct.Struct("!Q")
_PIECE = 2**20
_COPIED = 2**14
"""Bytes of a message that are copied behind its length: to send them by themselves takes longer."""


class Task(NamedTuple):
    """Holds a call to read."""

    exchange: Exchange
    secrets: list[str]
    """It is what must not be in its line, unwrapped: a Secret cannot be pickled."""


class Work(NamedTuple):
    """Holds calls to read in one go."""

    capture: str
    prices: str
    """It says which prices they are priced by: a key."""
    tasks: list[Task]


class Greeting(msgspec.Struct, array_like=True):
    """Is the first message of a process: it can read from now on."""

    pid: int
    prices: list[str]
    """Keys of those it has."""


class LogLine(msgspec.Struct, array_like=True):
    """Holds what a process would log; the proxy does."""

    level: int
    text: str


class Answer(msgspec.Struct, array_like=True):
    """Says what became of a call."""

    line: bytes
    """Its event, without a number."""
    event: bytes
    """The event without its bodies, as JSON."""
    log: list[LogLine]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Answer]).decode
_decode_greeting = msgspec.msgpack.Decoder(Greeting).decode
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of who is on the other side."""


def send(connection: socket.socket, data: bytes) -> None:
    """Send a message. Raises OSError, which a time-out is."""
    together = len(data) < _COPIED
    connection.sendall(_LENGTH.pack(len(data)) + data if together else _LENGTH.pack(len(data)))
    if not together:
        connection.sendall(data)


def receive(connection: socket.socket) -> Message:
    """Wait for a message. Raises OSError; ConnectionError where the other side has ended."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = connection.recv_into(view, min(len(view), _PIECE))
        if not got:
            raise ConnectionError("the other side has ended")
        view = view[got:]
    return data


def is_of_this_user(connection: socket.socket) -> bool:
    """Tell whether the other side of a Unix socket is this user's, where the system says whose it is.

    Where it does not, the folder of the socket keeps others out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.geteuid())


def pack_greeting(prices: Sequence[str]) -> bytes:
    """Write what a process says first."""
    return _encode(Greeting(os.getpid(), list(prices)))


def unpack_greeting(data: Message) -> Greeting:
    """Read it. Raises msgspec.ValidationError or DecodeError for anything else."""
    return _decode_greeting(data)


def pack_prices(prices: Prices) -> bytes:
    """Write prices, for a process that does not have them."""
    return pickle.dumps(prices, pickle.HIGHEST_PROTOCOL)


def unpack_prices(data: Message) -> Prices:
    """Read them."""
    prices: Prices = pickle.loads(data)  # noqa: S301 - as in `unpack_work`
    return prices


def pack_work(exchanges: Sequence[Exchange], *, capture: str, prices: str) -> bytes:
    """Write a message to a process; may wait for what is still to be decoded of over-long bodies."""
    return pickle.dumps(Work(capture, prices, [_task(one) for one in exchanges]), pickle.HIGHEST_PROTOCOL)


def unpack_work(data: Message) -> Work:
    """Read a message of the proxy's."""
    # It comes from the process that started this one, or by a socket that only this user may use.
    work: Work = pickle.loads(data)  # noqa: S301
    for exchange, secrets in work.tasks:
        exchange.secrets = [Secret(text) for text in secrets]
        for body in (exchange.request_body, exchange.response_body):
            if body is not None and body.chunks:
                body.data = b"".join(body.chunks)
    return work


def pack_answers(answers: Sequence[Answer]) -> bytes:
    """Write a process's message."""
    return _encode(answers)


def unpack_answers(data: Message) -> list[Answer]:
    """Read it. Raises msgspec.ValidationError or DecodeError for anything else."""
    return _decode(data)


def _task(exchange: Exchange) -> Task:
    """Give what has to be known to read a call: no future, no key, no body twice."""
    sent = copy.copy(exchange)
    sent.recorded = sent.request_value = sent.summary = None
    sent.secrets = []
    sent.grant = exchange.grant and _attribution(exchange.grant)
    sent.request_body = _once(exchange.request_body)
    sent.response_body = exchange.response_body and _once(exchange.response_body)
    return Task(sent, [secret.reveal() for secret in exchange.secrets])


def _once(body: Body) -> Body:
    body.settle()
    return replace(body, data=b"", pending=None) if body.chunks else replace(body, pending=None)


class _Held(NamedTuple):
    """Wraps a grant as a key of a cache: by identity, since it is not hashable."""

    grant: Grant

    def __hash__(self) -> int:
        return id(self.grant)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.grant is other.grant


def _attribution(grant: Grant) -> Grant:
    return _without_key(_Held(grant))


@lru_cache(maxsize=256)
def _without_key(held: _Held) -> Grant:
    """Give whose call it is, and nothing that it could be made with."""
    project, token = held.grant.project, held.grant.token
    return replace(
        held.grant,
        project=replace(project, key=StoredKey(""), limits=NONE),
        token=replace(token, limits=NONE),
    )


def _reduce_view(view: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    """Tell pickle how to make a read-only view anew: fields of tokens and projects are such."""
    return _view_of, (dict(view),)


def _view_of(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """Make one; pickle does not find the type by its name."""
    return MappingProxyType(values)


copyreg.pickle(MappingProxyType, _reduce_view)
