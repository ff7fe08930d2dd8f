"""The token store: projects and tokens, on any of the engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from uuid_utils import uuid7

from store import key_references, token_text, validation
from store.audit.facts import facts
from store.audit.log import AuditLog, Change
from store.audit.origin import Origin, of_process
from store.changes import KEEP, NewLimits, NewNames, NewPairs, label_columns, new_limits
from store.engine import Connection, engine_of
from store.errors import Conflict, Invalid, NotFound
from store.ledger import topups
from store.ledger.account import Gauge, gauges_of_project, gauges_of_token
from store.limits import NONE, Budget, Limits
from store.location import Place, StoreLocation
from store.models import Grant, Project, Selection, Token, TokenOrder, rfc3339
from store.project_keys import ProjectKeys
from store.rows import project_of, token_of, token_row
from store.secret import Secret

AT_ONCE = 500
"""Tokens in one statement."""

_NAME_TAKEN = "a project named {!r} exists already; choose another name."

Explanation = TypeVar("Explanation")


class TokenStore:
    """Projects and tokens. Usable from any one thread at a time.

    Every method raises a :class:`~store.errors.StoreError`: StoreUnavailable where the store cannot be read
    or written, NotFound, Conflict or Invalid for what its caller asked. Every change is in :attr:`audit`.
    """

    def __init__(self, location: StoreLocation, connection: Connection, origin: Origin) -> None:
        self.location = location
        self._connection = connection
        self.audit = AuditLog(connection, origin)
        self.keys = ProjectKeys(location, connection, self.audit)

    @classmethod
    def open(cls, place: Place, *, create: bool = True, origin: Origin | None = None) -> TokenStore:
        """The store there, upgraded to the present schema; made if missing, unless `create` is false.

        `origin` is who makes the changes, by default the user of this process.
        """
        location = StoreLocation.of(place)
        engine = engine_of(location)
        engine.prepare(create=create)
        return cls(location, engine.connect(), origin or of_process())

    @property
    def path(self) -> Path | None:
        """Of the SQLite file; None on a server."""
        return self.location.path

    @property
    def connection(self) -> Connection:
        """For what else is kept in the store, within its changes (:attr:`audit`)."""
        return self._connection

    def close(self) -> None:
        self._connection.close()

    # Projects

    def create_project(
        self,
        name: str,
        api_key: str,
        *,
        metadata: Mapping[str, str] | None = None,
        header_metadata: Sequence[str] = (),
        limits: Limits = NONE,
    ) -> Project:
        """`api_key` is kept encrypted, unless it is a reference (:mod:`store.key_references`).

        Raises Conflict where the name is taken, KeyUnavailable where the master key is missing or wrong.
        """
        with self.audit.change("project.create") as change, self.keys.exclusively():
            now = rfc3339(datetime.now(UTC))
            row: dict[str, Any] = {
                "id": str(uuid7()),
                "name": validation.name(name),
                "active": 1,
                "created_at": now,
                "updated_at": now,
                "limits": limits.as_json(),
                "metadata": validation.metadata(metadata),
                "header_metadata": validation.header_metadata(header_metadata),
            }
            self._check_key(api_key)
            row["api_key"] = self.keys.seal(row["id"], api_key)
            with _conflict(_NAME_TAKEN.format(name)):
                self._connection.insert("projects", [row])
            made = project_of(row)
            change.about(project_id=made.id)
            change.note(None, facts(made))
        return made

    def get_project(self, id_or_name: str) -> Project:
        """The project with this id, else with this name."""
        rows = self._connection.rows(
            "SELECT * FROM projects WHERE id = :key OR name = :key "
            "ORDER BY CASE WHEN id = :key THEN 0 ELSE 1 END",
            key=id_or_name,
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
        return [project_of(row) for row in self._connection.rows("SELECT * FROM projects ORDER BY name")]

    def update_project(
        self,
        id_or_name: str,
        *,
        name: str = KEEP,
        api_key: str = KEEP,
        active: bool = KEEP,
        limits: NewLimits = KEEP,
        metadata: NewPairs = KEEP,
        header_metadata: NewNames = KEEP,
    ) -> Project:
        """Change what is given. A new key is used from the next request on."""
        with self.audit.change("project.update") as change, self.keys.exclusively():
            project = self.get_project(id_or_name)
            change.about(project_id=project.id)
            # Later than the last change, be that within the same millisecond: proxies tell changes by it.
            moment = max(datetime.now(UTC), project.updated_at + timedelta(milliseconds=1))
            changes: dict[str, Any] = {"updated_at": rfc3339(moment)}
            if name is not KEEP:
                changes["name"] = validation.name(name)
            if active is not KEEP:
                changes["active"] = int(active)
            if limits is not KEEP:
                changes["limits"] = new_limits(project.limits, limits).as_json()
            changes |= label_columns(project, metadata, header_metadata)
            if api_key is not KEEP:
                self._check_key(api_key)
                changes["api_key"] = self.keys.seal(project.id, api_key)
            with _conflict(_NAME_TAKEN.format(name)):
                self._update("projects", project.id, changes)
            changed = self.get_project(project.id)
            after = facts(changed)
            if api_key is not KEEP:
                after["key"] += " (set anew)"
            change.note(facts(project), after)
        return changed

    def top_up_project(self, id_or_name: str, budget: Budget) -> Project:
        """Add to one of its budgets, for the present period; to `total` for ever."""
        with self.audit.change("project.topup") as change:
            project = self.get_project(id_or_name)
            change.about(project_id=project.id)
            self._top_up(change, project, f"project {project.name!r}", budget)
        return project

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
        limits: Limits = NONE,
        header_metadata: Sequence[str] = (),
        prefix: str = validation.TOKEN_PREFIX,
    ) -> tuple[Token, Secret]:
        """A new token of `project` (id or name), and its text, which cannot be read again later."""
        order = TokenOrder(project, expires_at, max_requests, metadata or {}, limits, header_metadata)
        return self.create_tokens([order], prefix=prefix)[0]

    def create_tokens(
        self, orders: Sequence[TokenOrder], *, prefix: str = validation.TOKEN_PREFIX
    ) -> list[tuple[Token, Secret]]:
        """New tokens and their texts, in the order given. All are made, or none."""
        with self.audit.change("token.create") as change:
            validation.token_prefix(prefix)
            owners = {order.project: self.get_project(order.project) for order in orders}
            for owner in owners.values():
                change.about(project_id=owner.id)
                if not owner.active:
                    raise Conflict(
                        f"project {owner.name!r} is not active; activate it before it gets tokens."
                    )
            texts = [token_text.new(prefix) for _ in orders]
            rows = [
                token_row(order, owners[order.project].id, text, prefix)
                for order, text in zip(orders, texts, strict=True)
            ]
            with _conflict("the token could not be stored; try again."):
                self._connection.insert("tokens", rows)
            made = [token_of(row) for row in rows]
            for token in made:
                _about(change, token)
                change.note(None, facts(token))
        return [(token, Secret(text)) for token, text in zip(made, texts, strict=True)]

    def rotate_token(
        self, token_id: str, *, overlap: timedelta, prefix: str = validation.TOKEN_PREFIX
    ) -> tuple[Token, Secret]:
        """Give the token a new text; the one that it had is good for `overlap` more.

        Id, counts, limits and metadata stay. One that it had before that ends at once: there are two at most.
        """
        with self._changing("token.rotate", token_id) as token:
            if not token.active:
                raise Conflict(f"token {token_id} is revoked; make a new one.")
            text = token_text.new(validation.token_prefix(prefix))
            ends = datetime.now(UTC) + validation.overlap(overlap)
            with _conflict("the token could not be rotated; try again."):
                # In this order: MySQL takes what stands on the left of one assignment into the next.
                self._connection.run(
                    "UPDATE tokens SET previous_sha256 = sha256, previous_prefix = prefix, "
                    "previous_ends_at = :ends, sha256 = :sha256, prefix = :prefix WHERE id = :id",
                    ends=rfc3339(ends),
                    sha256=token_text.fingerprint(text),
                    prefix=token_text.shown(text, prefix),
                    id=token_id,
                )
        return self.get_token(token_id), Secret(text)

    def get_token(self, token_id: str) -> Token:
        rows = self._connection.rows("SELECT * FROM tokens WHERE id = :id", id=token_id)
        if not rows:
            raise NotFound(f"there is no token with the id {token_id!r}; `llmproxy token list` shows all.")
        return token_of(rows[0])

    def token_use(self, token: Token) -> list[Gauge]:
        """What is used of each of the token's limits."""
        return gauges_of_token(self._connection, token, time.time())

    def project_use(self, project: Project) -> list[Gauge]:
        """What all its tokens have used of each of the project's limits."""
        return gauges_of_project(self._connection, project, time.time())

    def explained(self, token_id: str, explain: Callable[[Connection, Grant], Explanation]) -> Explanation:
        """What `explain` makes of a token."""
        token = self.get_token(token_id)
        return explain(self._connection, Grant(self.get_project(token.project_id), token))

    def list_tokens(
        self, project: str | None = None, *, after: str = "", limit: int | None = None
    ) -> list[Token]:
        """All tokens, or those of one project (id or name), oldest first.

        `after`: only those behind this id; `limit`: no more than so many.
        """
        query, values = "SELECT * FROM tokens WHERE id > :after", {"after": after}
        if project is not None:
            query, values["of"] = f"{query} AND project_id = :of", self.get_project(project).id
        query += " ORDER BY id"
        if limit is not None:
            query += f" LIMIT {limit:d}"
        return [token_of(row) for row in self._connection.rows(query, **values)]

    def update_token(
        self,
        token_id: str,
        *,
        expires_at: datetime | None = KEEP,
        max_requests: int | None = KEEP,
        metadata: NewPairs = KEEP,
        limits: NewLimits = KEEP,
        header_metadata: NewNames = KEEP,
    ) -> Token:
        """Change what is given; a map or a list replaces all that there was."""
        with self._changing("token.update", token_id) as present:
            changes: dict[str, Any] = {}
            if expires_at is not KEEP:
                expiry = validation.expires_at(expires_at)
                changes["expires_at"] = expiry and rfc3339(expiry)
            if max_requests is not KEEP:
                changes["max_requests"] = validation.max_requests(max_requests)
            if limits is not KEEP:
                changes["limits"] = validation.token_limits(new_limits(present.limits, limits)).as_json()
            changes |= label_columns(present, metadata, header_metadata)
            if changes:
                self._update("tokens", token_id, changes)
        return self.get_token(token_id)

    def revoke_token(self, token_id: str) -> Token:
        """Refuse the token from the next request on. There is no way back; make a new one instead."""
        with self._changing("token.revoke", token_id):
            self._update("tokens", token_id, {"active": 0})
        return self.get_token(token_id)

    def top_up_token(self, token_id: str, budget: Budget) -> Token:
        """Add to one of its budgets, for the present period; to `total` for ever."""
        with self.audit.change("token.topup") as change:
            token = self.get_token(token_id)
            _about(change, token)
            self._top_up(change, token, f"token {token_id}", budget)
        return token

    def select_tokens(self, selection: Selection) -> list[Token]:
        """The tokens that are not revoked and fit, oldest first."""
        conditions: list[str] = ["active = 1"]
        values: dict[str, Any] = {}
        if selection.project is not None:
            conditions.append("project_id = :project")
            values["project"] = self.get_project(selection.project).id
        if selection.created_before is not None:
            conditions.append("created_at < :created")
            values["created"] = rfc3339(selection.created_before)
        if selection.unused_since is not None:
            conditions.append("created_at < :unused AND coalesce(last_used_at, '') < :unused")
            values["unused"] = rfc3339(selection.unused_since)
        query = f"SELECT * FROM tokens WHERE {' AND '.join(conditions)} ORDER BY id"  # noqa: S608 - of the above
        found = map(token_of, self._connection.rows(query, **values))
        return [token for token in found if selection.metadata.items() <= token.metadata.items()]

    def revoke_tokens(self, selection: Selection) -> list[Token]:
        """Refuse all that fit from the next request on, in one transaction; returns them."""
        with self.audit.change("token.revoke") as change:
            found = self.select_tokens(selection)
            revoked = [replace(token, active=False) for token in found]
            for start in range(0, len(found), AT_ONCE):
                ids = [token.id for token in found[start : start + AT_ONCE]]
                self._connection.run("UPDATE tokens SET active = 0 WHERE id IN :ids", ids=ids)
            reason = f"all with {selection}"[:200]
            for before, after in zip(found, revoked, strict=True):
                _about(change, after)
                change.note(facts(before), facts(after), reason=reason)
            if not found:
                change.note(None, {}, reason=reason)
        return revoked

    def _top_up(self, change: Change, of: Project | Token, called: str, budget: Budget) -> None:
        if of.limits.budget(budget.unit, budget.period) is None:
            raise Conflict(
                f"{called} has no budget {budget.name} to add to; give it one with `update --budget`."
            )
        topups.add(self._connection, of.id, budget, at=time.time())
        change.note({}, {"topup": str(budget)})

    def _check_key(self, api_key: str) -> None:
        """Raises Invalid for what is neither a key nor a reference, such as one of our own tokens."""
        if key_references.is_reference(api_key):
            key_references.check(api_key)
            return
        validation.api_key(api_key)
        if self._connection.rows(
            "SELECT 1 FROM tokens WHERE sha256 = :sha256", sha256=token_text.fingerprint(api_key)
        ):
            raise Invalid("the API key is one of the proxy's tokens; give the real key.")

    @contextmanager
    def _changing(self, action: str, token_id: str) -> Iterator[Token]:
        """One transaction and its row in the audit log; gives the token as it is before."""
        with self.audit.change(action) as change:
            before = self.get_token(token_id)
            _about(change, before)
            yield before
            change.note(facts(before), facts(self.get_token(token_id)))

    def _update(self, table: str, row_id: str, changes: Mapping[str, Any]) -> None:
        assignments = ", ".join(f"{column} = :{column}" for column in changes)
        self._connection.run(f"UPDATE {table} SET {assignments} WHERE id = :id", id=row_id, **changes)  # noqa: S608


def _about(change: Change, token: Token) -> None:
    change.about(project_id=token.project_id, token_id=token.id)


@contextmanager
def _conflict(said: str) -> Iterator[None]:
    """Tell a row that exists already in these words."""
    try:
        yield
    except Conflict as error:
        raise Conflict(said) from error
