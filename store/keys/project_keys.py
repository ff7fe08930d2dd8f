"""Keep the projects' keys in the store: what the column ``projects.api_key`` holds, and how it is changed.

Beside it the table ``admin_keys`` holds, for some projects, the key that reads what the vendor bills. No
client ever causes its use.

``plain:KEY`` (made by versions before encryption), ``aesgcm:v1:MASTER:...`` (see
:mod:`store.keys.master_key`), or a reference (see :mod:`store.keys.key_references`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from store.audit.log import AuditLog
from store.core.errors import Conflict, KeyUnavailable
from store.core.secret import Secret
from store.database.engine import Connection
from store.database.location import StoreLocation
from store.keys import key_references, master_key
from store.keys.master_key import MasterKeys
from store.tokens import validation

PLAIN = "plain:"
ADMIN = "admin:"
"""Before a project's id: the owner of its admin key, so that neither can be put in the place of the other."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Holds a project's key as the store has it."""

    text: str = field(repr=False)
    """The column's value: a secret where `kind` is plain."""

    @property
    def kind(self) -> str:
        """Give ``plain``, ``encrypted``, or the reference itself, which is no secret."""
        if self.text.startswith(PLAIN):
            return "plain"
        if self.text.startswith(f"{master_key.SCHEME}:"):
            return "encrypted"
        return self.text if self.is_reference else "unknown"

    @property
    def is_reference(self) -> bool:
        return key_references.is_reference(self.text)

    def read(self, project_id: str, masters: MasterKeys | None, store: StoreLocation) -> Secret:
        """Give the key itself; takes as long as its source does. Raises KeyUnavailable."""
        kind = self.kind
        if kind == "plain":
            return Secret(self.text.removeprefix(PLAIN))
        if kind == "encrypted":
            if masters is None:
                raise KeyUnavailable(master_key.missing(store))
            return masters.open(project_id, self.text)
        if kind == "unknown":
            raise KeyUnavailable(
                "the store holds the key in a form that this version does not know; update it."
            )
        return key_references.read(self.text)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Says what :meth:`ProjectKeys.rotate` did."""

    encrypted: int
    """Keys that are encrypted with the new master key now."""
    master: str
    """Id of the new master key."""
    where: str


class ProjectKeys:
    """Is a part of a :class:`~store.tokens.store.TokenStore`. Methods raise StoreError."""

    def __init__(self, location: StoreLocation, connection: Connection, audit: AuditLog) -> None:
        self._location = location
        self._connection = connection
        self._audit = audit

    def seal(self, project_id: str, key: str) -> str:
        """Give what to store for `key`, within a transaction that :meth:`exclusively` began.

        In it, because a rotation at the same time would miss a row that is encrypted with the old key after.
        A store's first key makes the master key, beside the store, unless it is said to be elsewhere.
        """
        if key_references.is_reference(key):
            return key_references.check(key)
        return self._masters(make=True).primary.seal(project_id, Secret(key))

    def read(self, project_id: str, key: StoredKey) -> Secret:
        masters = master_key.load(self._location) if key.kind == "encrypted" else None
        return key.read(project_id, masters, self._location)

    def set_admin(self, project_id: str, key: str | None) -> None:
        """Keep the project's admin key, encrypted unless it is a reference; None removes it."""
        with self._audit.change("keys.set_admin") as change, self.exclusively():
            change.about(project_id=project_id)
            self._connection.run("DELETE FROM admin_keys WHERE project_id = :id", id=project_id)
            if key is not None:
                if not key_references.is_reference(key):
                    validation.api_key(key)
                sealed = self.seal(f"{ADMIN}{project_id}", key)
                self._connection.insert("admin_keys", [{"project_id": project_id, "api_key": sealed}])
            change.note(None, {"admin_key": "none" if key is None else "set"})

    def read_admin(self, project_id: str) -> Secret | None:
        """Read the project's admin key; None where it has none. Raises KeyUnavailable."""
        key = self._rows().get(f"{ADMIN}{project_id}")
        return None if key is None else self.read(f"{ADMIN}{project_id}", key)

    def make_master(self) -> MasterKeys:
        """Make a new master key. Raises Conflict where there is one, KeyUnavailable where one is lost."""
        with self._audit.change("keys.init") as change, self.exclusively():
            if (used := sorted(self._used())) and master_key.load(self._location) is None:
                raise KeyUnavailable(
                    f"keys in {self._location} are encrypted with master key {used[0]}, which is missing; "
                    "a new one can't read them. Bring it back, or set the keys anew in a new store."
                )
            made = master_key.make(self._location)
            change.note(None, {"master_key": made.primary.id})
            return made

    def check(self) -> int:
        """See that every encrypted key opens; the number of keys in plain text. Raises KeyUnavailable."""
        rows = self._rows()
        sealed = {project_id: key for project_id, key in rows.items() if key.kind == "encrypted"}
        if sealed:
            masters = self._masters()
            for project_id, key in sealed.items():
                masters.open(project_id, key.text)
        return sum(key.kind == "plain" for key in rows.values())

    def encrypt(self) -> int:
        """Encrypt the keys that are in plain text, in one transaction; returns their number."""
        with self._audit.change("keys.encrypt") as change, self.exclusively():
            plain = {project_id: key for project_id, key in self._rows().items() if key.kind == "plain"}
            if plain:
                self._seal_again(plain, self._masters(make=True))
            change.note(None, {"encrypted": len(plain)})
        if plain:
            self._connection.wipe("projects")
        return len(plain)

    def rotate(self, *, keep_old: bool = False) -> Rotation:
        """Encrypt all keys with a new master key, in one transaction; proxies go on meanwhile.

        Where the master key is in a file, a new one is made, and the file holds both until the transaction is
        committed. From the environment the first of the keys is taken as the new one. Raises Conflict where
        that is in use already.
        """
        with self._audit.change("keys.rotate") as change, self.exclusively():
            masters = self._masters(make=True)
            rows = {
                project_id: key
                for project_id, key in self._rows().items()
                if key.kind in ("plain", "encrypted")
            }
            if masters.file is not None:
                both = (master_key.MasterKey.new(), *masters.keys)
                master_key.replace(masters.file, both)
                masters = MasterKeys(both, masters.where, masters.file)
            elif len(masters.keys) == 1:
                raise Conflict(
                    f"{masters.where} holds one key; put the new one before it (NEW,OLD), restart the "
                    "proxies with that, and rotate again."
                )
            self._seal_again(rows, masters)
            change.note(None, {"encrypted": len(rows), "master_key": masters.primary.id})
        if masters.file is not None and not keep_old:
            self._forget_unused(masters.file)
        return Rotation(len(rows), masters.primary.id, masters.where)

    def _forget_unused(self, file: Path) -> None:
        """Take the keys out of the file that no row needs, but not one that was just added."""
        with self.exclusively():
            masters = self._masters()
            used = self._used()
            kept = [key for key in masters.keys if key.id in used or key is masters.primary]
            master_key.replace(file, kept)

    def _seal_again(self, rows: dict[str, StoredKey], masters: MasterKeys) -> None:
        for owner, key in rows.items():
            sealed = masters.primary.seal(owner, key.read(owner, masters, self._location))
            if owner.startswith(ADMIN):
                sql = "UPDATE admin_keys SET api_key = :sealed WHERE project_id = :id"
            else:
                sql = "UPDATE projects SET api_key = :sealed WHERE id = :id"
            self._connection.run(sql, sealed=sealed, id=owner.removeprefix(ADMIN))

    def _masters(self, *, make: bool = False) -> MasterKeys:
        """Give the master keys, after making sure that they are the ones of this store.

        Raises KeyUnavailable.
        """
        masters = master_key.load(self._location)
        used = self._used()
        if masters is None:
            if used or not make:
                raise KeyUnavailable(master_key.missing(self._location))
            return master_key.make(self._location)
        if strange := sorted(key_id for key_id in used if not masters.knows(key_id)):
            raise KeyUnavailable(masters.wrong(strange[0]))
        return masters

    def _used(self) -> set[str]:
        """Give the ids of the master keys that rows are encrypted with."""
        return {master_key.key_id_of(key.text) for key in self._rows().values() if key.kind == "encrypted"}

    def _rows(self) -> dict[str, StoredKey]:
        """Give all keys, by their owners: projects' ids, those of admin keys with ADMIN before them."""
        rows = self._connection.rows("SELECT id, api_key FROM projects")
        admin = self._connection.rows("SELECT project_id, api_key FROM admin_keys")
        return {row["id"]: StoredKey(row["api_key"]) for row in rows} | {
            f"{ADMIN}{row['project_id']}": StoredKey(row["api_key"]) for row in admin
        }

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Run one transaction that no other change of keys overlaps."""
        with self._connection.transaction():
            self._connection.lock("project_keys")
            yield
