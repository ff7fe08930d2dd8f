"""Wrap a value that must not be shown."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Wraps a key or a token so that it is not printed, logged, pickled or compared by accident.

    >>> key = Secret("sk-live-123456")
    >>> f"{key} {key!r}"
    '******** Secret(********)'
    >>> key.reveal()
    'sk-live-123456'
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Give the value itself. Every call of this is a place to look at in a review."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(********)"

    def __str__(self) -> str:
        return "********"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time, and only with another Secret."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(self.__value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied; pass the object on")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self
