"""Describe what a sink can be told, in a form that command line, environment and a file can be read by.

An option `log_group` of the sink `cloudwatch` is the flag ``--cloudwatch-log-group``, the variable
``DISPATCHER_CLOUDWATCH_LOG_GROUP`` and the key ``log_group`` in the table ``[cloudwatch]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """Describes one thing that a sink can be told; it arrives as an argument of that name."""

    name: str
    help: str
    kind: Callable[[Any], Any] = str
    """Makes the value of what was given, a text or a value of TOML. Raises ValueError with what is wrong."""
    default: Any = None
    required: bool = False
    flag: str | None = None
    """A shorter flag, besides the one with the sink's name."""
    env: tuple[str, ...] = ()
    """Further variables; the first one that is set counts."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Describes a kind of sink: its options, and what makes one of their values."""

    name: str
    options: tuple[Option, ...]
    make: Callable[..., Any]
    """Takes the options by name, and `include_content`. Raises Misconfigured."""


def path(value: Any) -> Path:
    """Read a path, in which ``~`` is the home of the user."""
    return Path(str(value)).expanduser()


def boolean(value: Any) -> bool:
    """Read as in the environment: 1, true, yes, on, or 0, false, no, off."""
    if str(value).lower() in {"1", "true", "yes", "on", "t", "y"}:
        return True
    if str(value).lower() in {"0", "false", "no", "off", "f", "n"}:
        return False
    raise ValueError(f"{value!r}: write true or false")


def whole(lowest: int, highest: int) -> Callable[[Any], int]:
    """Give a whole number within bounds."""

    def number(value: Any) -> int:
        if not re.fullmatch(r"-?\d{1,18}", str(value)) or not lowest <= int(value) <= highest:
            raise ValueError(f"{value!r}: write a whole number from {lowest} to {highest}")
        return int(value)

    return number


def choice(*values: str) -> Callable[[Any], str]:
    """Give one of several words."""

    def word(value: Any) -> str:
        if value not in values:
            raise ValueError(f"{value!r}: write {' or '.join(values)}")
        return str(value)

    return word


def words(value: Any) -> list[str]:
    """Read words separated by commas; a list in TOML."""
    given = value if isinstance(value, list) else str(value).split(",")
    return [word for word in (str(part).strip() for part in given) if word]


def some(*values: str) -> Callable[[Any], list[str]]:
    """Read some of several words, separated by commas; a list in TOML."""

    def chosen(value: Any) -> list[str]:
        found = words(value)
        for word in found:
            if word not in values:
                raise ValueError(f"{word!r}: write some of {', '.join(values)}")
        return found

    return chosen


SIZES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def size(value: Any) -> int:
    """Read bytes: ``1000000``, ``64MiB``, ``1GB``."""
    found = re.fullmatch(r"(\d{1,15})\s*([A-Za-z]*)", str(value))
    if not found or found[2] not in SIZES:
        raise ValueError(f"{value!r}: write bytes, or a size such as 64MiB or 1GB")
    return int(found[1]) * SIZES[found[2]]


SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration(value: Any) -> float:
    """Read seconds: ``30``, ``0.5``, ``90s``, ``1h``, ``1d``."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw]?)", str(value))
    if not found:
        raise ValueError(f"{value!r}: write seconds, or a time such as 90s, 15m, 1h, 1d")
    return float(found[1]) * SECONDS[found[2]]
