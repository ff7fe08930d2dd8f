"""Find the places behind the memory by their names."""

from __future__ import annotations

from pathlib import Path

from store.cache.redis_place import RedisPlace
from store.cache.sqlite_place import SqlitePlace
from store.cache.worker import Place
from store.core.errors import Invalid

MEMORY = "memory"
SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "unix://")


def place_of(name: str, *, most_entries: int, most_bytes: int) -> Place | None:
    """Return the place that a name stands for; None for memory alone. Nothing is opened yet.

    Raises Invalid, which names the remedy and no password.
    """
    if name == MEMORY:
        return None
    if name.startswith(REDIS):
        return RedisPlace(name)
    path = name.removeprefix(SQLITE)
    if path != name and path.strip():
        return SqlitePlace(Path(path).expanduser(), most_entries, most_bytes)
    raise Invalid(f"{shown(name)!r}: use {MEMORY}, {SQLITE}PATH or redis://HOST/0.")


def shown(name: str) -> str:
    """Give the name without user and password."""
    if "://" not in name:
        return name
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
