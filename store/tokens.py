"""The token store: projects and tokens in one SQLite file, managed with sqlite-utils."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlite_utils import Database
from uuid_utils import uuid7

from store import key_references, validation
from store.database import open_database, translated
from store.errors import Conflict, Invalid, NotFound
from store.models import Project, Token, rfc3339
from store.project_keys import ProjectKeys, StoredKey
from store.secret import Secret

Row = Mapping[str, Any]

SHOWN = len(validation.TOKEN_PREFIX) + 6
"""Characters of a token's text that are kept in the clear."""
TOKEN_BYTES = 32
"""Random bytes in a token: enough that a plain SHA-256 cannot be reversed by guessing."""

KEEP: Any = object()
"""Default of the update functions: leave this field as it is."""


def fingerprint(text: str) -> str:
    """SHA-256 of a token's text, in hexadecimal: all that is stored of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class TokenStore:
    """Projects and tokens. Usable from any one thread at a time.

    Every method raises a :class:`~store.errors.StoreError`: StoreUnavailable where the file cannot be read or
    written, NotFound, Conflict or Invalid for what its caller asked.
    """

    def __init__(self, path: Path, db: Database) -> None:
        self.path = path
        self._db = db
        self.keys = ProjectKeys(path, db)

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> TokenStore:
        """The store at `path`, upgraded to the present schema; made if missing, unless `create` is false."""
        return cls(path, open_database(path, create_missing=create))

    def close(self) -> None:
        self._db.close()

    # Projects

    def create_project(self, name: str, api_key: str) -> Project:
        """`api_key` is kept encrypted, unless it is a reference (:mod:`store.key_references`).

        Raises Conflict where the name is taken, KeyUnavailable where the master key is missing or wrong.
        """
        now = rfc3339(datetime.now(UTC))
        row: dict[str, Any] = {
            "id": str(uuid7()),
            "name": validation.name(name),
            "active": 1,
            "created_at": now,
            "updated_at": now,
        }
        self._check_key(api_key)
        with (
            self.keys.exclusively(),
            self._changing(f"a project named {name!r} exists already; choose another name."),
        ):
            row["api_key"] = self.keys.seal(row["id"], api_key)
            self._db.table("projects").insert(row)
        return project_of(row)

    def get_project(self, id_or_name: str) -> Project:
        """The project with this id, else with this name."""
        with translated(self.path):
            rows = list(
                self._db.query(
                    "SELECT * FROM projects WHERE id = :key OR name = :key ORDER BY id = :key DESC LIMIT 1",
                    {"key": id_or_name},
                )
            )
        if not rows:
            raise NotFound(f"there is no project {id_or_name!r}; `llmproxy project list` shows all.")
        return project_of(rows[0])

    def api_key(self, id_or_name: str) -> Secret:
        """The project's key, decrypted, or read from where it is kept. Raises KeyUnavailable."""
        project = self.get_project(id_or_name)
        return self.keys.read(project.id, project.key)

    def list_projects(self) -> list[Project]:
        """All projects, by name."""
        with translated(self.path):
            return [project_of(row) for row in self._db.query("SELECT * FROM projects ORDER BY name")]

    def update_project(
        self, id_or_name: str, *, name: str = KEEP, api_key: str = KEEP, active: bool = KEEP
    ) -> Project:
        """Change what is given. A new key is used from the next request on."""
        project = self.get_project(id_or_name)
        changes: dict[str, Any] = {"updated_at": rfc3339(datetime.now(UTC))}
        if name is not KEEP:
            changes["name"] = validation.name(name)
        if api_key is not KEEP:
            self._check_key(api_key)
        if active is not KEEP:
            changes["active"] = int(active)
        with (
            self.keys.exclusively(),
            self._changing(f"a project named {name!r} exists already; choose another name."),
        ):
            if api_key is not KEEP:
                changes["api_key"] = self.keys.seal(project.id, api_key)
            self._db.table("projects").update(project.id, changes)
        return self.get_project(project.id)

    def activate_project(self, id_or_name: str) -> Project:
        return self.update_project(id_or_name, active=True)

    def deactivate_project(self, id_or_name: str) -> Project:
        """Refuse all tokens of the project from the next request on."""
        return self.update_project(id_or_name, active=False)

    # Tokens

    def create_token(
        self,
        project: str,
        *,
        expires_at: datetime | None = None,
        max_requests: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Token, Secret]:
        """A new token of `project` (id or name), and its text, which cannot be read again later."""
        owner = self.get_project(project)
        if not owner.active:
            raise Conflict(f"project {owner.name!r} is not active; activate it before it gets tokens.")
        text = validation.TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        expiry = validation.expires_at(expires_at)
        row = {
            "id": str(uuid7()),
            "sha256": fingerprint(text),
            "prefix": text[:SHOWN],
            "project_id": owner.id,
            "active": 1,
            "created_at": rfc3339(datetime.now(UTC)),
            "expires_at": expiry and rfc3339(expiry),
            "max_requests": validation.max_requests(max_requests),
            "request_count": 0,
            "last_used_at": None,
            "metadata": validation.metadata(metadata),
        }
        with self._changing("the token could not be stored; try again."):
            self._db.table("tokens").insert(row)
        return token_of(row), Secret(text)

    def get_token(self, token_id: str) -> Token:
        with translated(self.path):
            rows = list(self._db.query("SELECT * FROM tokens WHERE id = ?", [token_id]))
        if not rows:
            raise NotFound(f"there is no token with the id {token_id!r}; `llmproxy token list` shows all.")
        return token_of(rows[0])

    def list_tokens(self, project: str | None = None) -> list[Token]:
        """All tokens, or those of one project (id or name), oldest first."""
        of = self.get_project(project).id if project is not None else None
        with translated(self.path):
            rows = self._db.query(
                "SELECT * FROM tokens WHERE :of IS NULL OR project_id = :of ORDER BY id", {"of": of}
            )
            return [token_of(row) for row in rows]

    def update_token(
        self,
        token_id: str,
        *,
        expires_at: datetime | None = KEEP,
        max_requests: int | None = KEEP,
        metadata: Mapping[str, str] = KEEP,
    ) -> Token:
        """Change what is given; `metadata` replaces the whole map."""
        self.get_token(token_id)
        changes: dict[str, Any] = {}
        if expires_at is not KEEP:
            expiry = validation.expires_at(expires_at)
            changes["expires_at"] = expiry and rfc3339(expiry)
        if max_requests is not KEEP:
            changes["max_requests"] = validation.max_requests(max_requests)
        if metadata is not KEEP:
            changes["metadata"] = validation.metadata(metadata)
        if changes:
            with self._changing("the token could not be changed."):
                self._db.table("tokens").update(token_id, changes)
        return self.get_token(token_id)

    def revoke_token(self, token_id: str) -> Token:
        """Refuse the token from the next request on. There is no way back; make a new one instead."""
        self.get_token(token_id)
        with self._changing("the token could not be revoked."):
            self._db.table("tokens").update(token_id, {"active": 0})
        return self.get_token(token_id)

    def record_use(self, uses: Mapping[str, tuple[int, datetime]]) -> None:
        """Add calls to the tokens' counts and move their times of last use, in one transaction.

        Calls of a token with `max_requests` are counted by the quota clerk already; give 0 for those.
        """
        with self._changing("the use of tokens could not be recorded."):
            for token_id, (count, last) in uses.items():
                self._db.execute(
                    "UPDATE tokens SET request_count = request_count + ?, "
                    "last_used_at = max(coalesce(last_used_at, ''), ?) WHERE id = ?",
                    [count, rfc3339(last), token_id],
                )

    def _check_key(self, api_key: str) -> None:
        """Raises Invalid for what is neither a key nor a reference, such as one of our own tokens."""
        if key_references.is_reference(api_key):
            key_references.check(api_key)
            return
        validation.api_key(api_key)
        with translated(self.path):
            if any(self._db.query("SELECT 1 FROM tokens WHERE sha256 = ?", [fingerprint(api_key)])):
                raise Invalid("the API key is one of the proxy's tokens; give the real key.")

    @contextmanager
    def _changing(self, conflict: str) -> Iterator[None]:
        """One transaction; a row that exists already raises Conflict with this text."""
        with translated(self.path):
            try:
                with self._db.atomic():
                    yield
            except sqlite3.IntegrityError as error:
                raise Conflict(conflict) from error


def project_of(row: Row) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        key=StoredKey(row["api_key"]),
        active=bool(row["active"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        updated_at=datetime.fromisoformat(row["updated_at"]),
    )


def token_of(row: Row) -> Token:
    return Token(
        id=row["id"],
        prefix=row["prefix"],
        project_id=row["project_id"],
        active=bool(row["active"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=_moment(row["expires_at"]),
        max_requests=row["max_requests"],
        request_count=row["request_count"],
        last_used_at=_moment(row["last_used_at"]),
        metadata=MappingProxyType(json.loads(row["metadata"])),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
