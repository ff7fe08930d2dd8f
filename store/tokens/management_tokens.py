"""Keep named tokens of the management API (table ``management_tokens``): whom each admits, and to what.

They are kept as hashes and never mixed with those of the data plane: another table, another prefix, another
look-up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from uuid_utils import uuid7

from store.audit.log import AuditLog
from store.core.errors import Conflict, Invalid, NotFound
from store.core.secret import Secret
from store.core.times import rfc3339
from store.database.engine import Connection
from store.tokens import naming, token_text, validation

PREFIX = "llmp-mgmt-"
ADMIN, READ, PROJECT = "admin", "read", "project"
ROLES = (ADMIN, READ, PROJECT)
"""May do everything; may only look; sees its projects, and makes and revokes their tokens."""
USUAL_LIFETIME = timedelta(days=90)
"""It says where nothing is said."""
USE_EVERY = timedelta(minutes=1)
"""It says how exactly the last use is kept."""


@dataclass(frozen=True, slots=True)
class ManagementToken:
    """Describes one named token; its text is not here."""

    id: str
    name: str
    prefix: str
    role: str
    projects: tuple[str, ...]
    """Ids, of the role `project`."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it admits anyone at this moment."""
        return self.revoked_at is None and (self.expires_at is None or rfc3339(now) < self.expires_at)

    def as_dict(self, now: datetime | None = None) -> dict[str, Any]:
        """Give the fields for JSON output."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {**shown, "projects": list(self.projects), "active": self.is_valid(now or datetime.now(UTC))}


class ManagementTokens:
    """Is a part of a store, for one thread at a time. Methods raise StoreError."""

    def __init__(self, connection: Connection, audit: AuditLog) -> None:
        self._connection = connection
        self._audit = audit

    def create(
        self, name: str, role: str, *, projects: Sequence[str] = (), expires_at: datetime | None = None
    ) -> tuple[ManagementToken, Secret]:
        """Make a token, and return its text, which cannot be read again later. `projects` are ids.

        Raises Conflict where the name is taken, Invalid for a role without its projects.
        """
        if role not in ROLES:
            raise Invalid(f"role {role[:40]!r}: use {', '.join(ROLES)}.")
        if (role == PROJECT) != bool(projects):
            raise Invalid("the role project, and no other, is for some projects: say which.")
        text = token_text.new(PREFIX)
        made = ManagementToken(
            *(str(uuid7()), validation.name(name), token_text.shown(text, PREFIX), role, tuple(projects)),
            created_at=rfc3339(datetime.now(UTC)),
            expires_at=None if expires_at is None else rfc3339(expires_at),
            revoked_at=None,
            last_used_at=None,
        )
        with self._audit.change("management_token.create") as change:
            if self._find("name = :key", made.name) is not None:
                raise Conflict(f"a management token named {name!r} exists already; choose another name.")
            row = {column: getattr(made, column) for column in ManagementToken.__slots__}
            row |= {"projects": json.dumps(made.projects), "sha256": token_text.fingerprint(text)}
            self._connection.insert("management_tokens", [row])
            change.note(None, _facts(made))
        return made, Secret(text)

    def list(self) -> Sequence[ManagementToken]:
        """Give all of them, those that have ended too, by name."""
        return [_of(row) for row in self._connection.rows("SELECT * FROM management_tokens ORDER BY name")]

    def revoke(self, id_or_name: str) -> ManagementToken:
        """Admit nobody by this token from the next request on; for good.

        It is given by its id, its name, the prefix of its text, or the beginning of its id. Raises NotFound,
        and Invalid where several are meant.
        """
        with self._audit.change("management_token.revoke") as change:
            found = self._meant(id_or_name)
            if found is None:
                raise NotFound(
                    f"there is no management token {id_or_name[:100]!r}; "
                    "`llmproxy management-token list` shows all."
                )
            if found.revoked_at is None:
                now = rfc3339(datetime.now(UTC))
                self._connection.run(
                    "UPDATE management_tokens SET revoked_at = :now WHERE id = :id", now=now, id=found.id
                )
                change.note({"revoked": False}, {"name": found.name, "revoked": True})
        return self._find("id = :key", found.id) or found

    def admit(self, text: str, now: datetime) -> ManagementToken | None:
        """Find the valid token with this text, and note its use; None for any other text."""
        if not text.startswith(PREFIX):
            return None
        found = self._find("sha256 = :key", token_text.fingerprint(text))
        if found is None or not found.is_valid(now):
            return None
        if found.last_used_at is None or found.last_used_at < rfc3339(now - USE_EVERY):
            self._connection.run(
                "UPDATE management_tokens SET last_used_at = :now WHERE id = :id",
                now=rfc3339(now),
                id=found.id,
            )
        return found

    def _meant(self, text: str) -> ManagementToken | None:
        for condition in ("id = :key", "name = :key", "prefix = :key"):
            if (found := self._find(condition, text)) is not None:
                return found
        query = "SELECT id, name FROM management_tokens WHERE "
        return self._find(
            "id = :key", naming.only_beginning(self._connection, query, "id", "management tokens", text)
        )

    def _find(self, condition: str, key: str) -> ManagementToken | None:
        rows = self._connection.rows(f"SELECT * FROM management_tokens WHERE {condition}", key=key)  # noqa: S608
        return _of(rows[0]) if rows else None


def _of(row: Mapping[str, Any]) -> ManagementToken:
    values = {name: row[name] for name in ManagementToken.__slots__}
    return ManagementToken(**{**values, "projects": tuple(json.loads(row["projects"]))})


def _facts(made: ManagementToken) -> dict[str, Any]:
    """Give what the audit log shows."""
    return {
        "name": made.name,
        "role": made.role,
        "projects": list(made.projects),
        "expires_at": made.expires_at,
    }
