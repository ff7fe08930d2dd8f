"""Say where a store is: a file, or a database on a server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from store.core import configuration
from store.core.errors import Invalid
from store.core.secret import Secret

VARIABLE = "LLMPROXY_STORE"
DEFAULT = "data/store.db"
SERVERS = ("postgresql", "mysql")
ALIASES = {"postgres": "postgresql", "mariadb": "mysql"}
FORMS = "a path, sqlite:///PATH, postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE"


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Holds a path, or the URL of a server's database. ``str()`` shows it without its password."""

    shown: str
    path: Path | None
    """The SQLite file; None on a server."""
    kind: str = "sqlite"
    """``sqlite``, ``postgresql`` or ``mysql``."""
    url: Secret | None = field(default=None, repr=False)
    """With its password; None for a file."""

    @classmethod
    def of(cls, place: Place) -> StoreLocation:
        """Read a path or a URL. Raises Invalid, without showing a password."""
        if isinstance(place, StoreLocation):
            return place
        if isinstance(place, Path):
            return cls(str(place), place)
        scheme, mark, rest = place.partition("://")
        if not mark:
            if not place.strip():
                raise Invalid(f"the store has no name; write {FORMS}.")
            return cls.of(Path(place).expanduser())
        scheme = ALIASES.get(scheme.lower(), scheme.lower())
        if scheme == "sqlite" and len(rest) > 1 and rest.startswith("/"):
            return cls.of(Path(rest[1:]).expanduser())
        if scheme not in SERVERS:
            raise Invalid(f"store {without_password(place)!r}: write {FORMS}.")
        return cls(without_password(f"{scheme}://{rest}"), None, scheme, Secret(f"{scheme}://{rest}"))

    @classmethod
    def named(cls, text: str) -> StoreLocation:
        """Give what an option says. As the variable's URL shows, without its password, it means that URL."""
        inherited = from_environment()
        return inherited if text == inherited.shown else cls.of(text)

    def exists(self) -> bool:
        """Tell whether there is a file; of a server this says nothing."""
        return self.path is None or self.path.exists()

    def absolute(self) -> StoreLocation:
        return self if self.path is None else self.of(self.path.resolve())

    def folder(self, spool: Path) -> Path:
        """Give where files of the store are kept: beside it, or, of a server's, beside the spool."""
        return (spool if self.path is None else self.path).resolve().parent

    def __str__(self) -> str:
        return self.shown


Place = str | Path | StoreLocation


def from_environment(default: Place = DEFAULT) -> StoreLocation:
    """Give what ``LLMPROXY_STORE`` names, else ``llmproxy.toml``. Raises Invalid."""
    return StoreLocation.of(os.environ.get(VARIABLE) or configuration.load().place("store") or default)


def without_password(url: str) -> str:
    """Give the URL, for people to read. Works on text alone: a password may hold what no URL allows."""
    scheme, mark, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    account = before.partition(":")[0] + at
    return scheme + mark + account + re.sub(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", after)
