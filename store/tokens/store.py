"""Keep projects and tokens on any of the engines: the token store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from uuid_utils import uuid7

from store.audit.facts import facts
from store.audit.log import AuditLog, Change
from store.audit.origin import Origin, of_process
from store.core.errors import Conflict, Invalid, NotFound
from store.core.secret import Secret
from store.core.times import rfc3339
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import Place, StoreLocation
from store.keys import key_references
from store.keys.project_keys import ProjectKeys
from store.ledger import sessions, topups
from store.ledger.account import Gauge, account_of, gauges_of_grant, gauges_of_project, gauges_of_token
from store.ledger.claimed import Claimed
from store.tokens import naming, token_text, validation
from store.tokens.amounts import Budget
from store.tokens.fields import columns, fields_of
from store.tokens.lifetimes import EXPIRY, Lifetimes
from store.tokens.limits import stricter
from store.tokens.models import Grant, Project, Selection, Token, TokenOrder
from store.tokens.rows import OnDamaged, log_damaged, project_of, readable, token_of, token_row
from store.tokens.subjects import LABEL, PROJECT, SESSION, TOKEN, Side, session_id

AT_ONCE = 500
"""Tokens in one statement, and in one page."""

_NAME_TAKEN = "a project named {!r} exists already; choose another name."

Explanation = TypeVar("Explanation")


class TokenStore:
    """Keeps projects and tokens. Usable from any one thread at a time.

    Every method raises a :class:`~store.core.errors.StoreError`: StoreUnavailable where the store cannot be
    read or written, NotFound, Conflict or Invalid for what its caller asked. Every change is in
    :attr:`audit`.
    """

    def __init__(self, location: StoreLocation, connection: Connection, origin: Origin) -> None:
        self.location = location
        self._connection = connection
        self.audit = AuditLog(connection, origin)
        self.keys = ProjectKeys(location, connection, self.audit)

    @classmethod
    def open(cls, place: Place, *, create: bool = True, origin: Origin | None = None) -> TokenStore:
        """Give the store there, upgraded to the present schema; made if missing, unless `create` is false.

        `origin` is who makes the changes, by default the user of this process.
        """
        location = StoreLocation.of(place)
        engine = engine_of(location)
        engine.prepare(create=create)
        return cls(location, engine.connect(), origin or of_process())

    @property
    def path(self) -> Path | None:
        """Give the path of the SQLite file; None on a server."""
        return self.location.path

    @property
    def connection(self) -> Connection:
        """Give the connection for what else is kept in the store, within its changes (:attr:`audit`)."""
        return self._connection

    def close(self) -> None:
        self._connection.close()

    # Projects

    def create_project(
        self,
        name: str,
        api_key: str,
        **given: Any,
    ) -> Project:
        """Make a project. `given`: other fields, by their names in :class:`store.tokens.models.Project`.

        `api_key` is kept encrypted, unless it is a reference (:mod:`store.keys.key_references`).
        Raises Conflict where the name is taken, KeyUnavailable where the master key is missing or wrong.
        """
        with self.audit.change("project.create") as change, self.keys.exclusively():
            now = rfc3339(datetime.now(UTC))
            row: dict[str, Any] = {
                **dict.fromkeys(field.column for field in fields_of(Project).values()),
                "id": str(uuid7()),
                "created_at": now,
                "updated_at": now,
                **columns(Project, {"name": name, "active": True, **given}),
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
        """Give the project with this id, else with this name."""
        rows = self._connection.rows(
            "SELECT * FROM projects WHERE id = :key OR name = :key "
            "ORDER BY CASE WHEN id = :key THEN 0 ELSE 1 END",
            key=id_or_name,
        )
        if not rows:
            raise NotFound(f"there is no project {id_or_name!r}; `llmproxy project list` shows all.")
        return project_of(rows[0])

    def project_id(self, text: str) -> str:
        """Return the id of the project that a person means (:mod:`store.tokens.naming`). Raises Invalid."""
        return naming.project_id(self._connection, text)

    def token_id(self, text: str) -> str:
        """Return the id of the token that a person means (:mod:`store.tokens.naming`). Raises Invalid."""
        return naming.token_id(self._connection, text)

    def api_key(self, id_or_name: str) -> Secret:
        """Give the project's key, decrypted, or read from where it is kept. Raises KeyUnavailable."""
        project = self.get_project(id_or_name)
        return self.keys.read(project.id, project.key)

    def list_projects(self, *, on_damaged: OnDamaged = log_damaged) -> list[Project]:
        """Give all projects, by name; `on_damaged` gets those that cannot be read."""
        rows = self._connection.rows("SELECT * FROM projects ORDER BY name")
        return readable(project_of, rows, on_damaged)

    def update_project(
        self,
        id_or_name: str,
        *,
        api_key: str | None = None,
        **given: Any,
    ) -> Project:
        """Change what is given: fields, by their names in :class:`store.tokens.models.Project`.

        A field is a value, or a function of the present one: so no change of a part is lost to another's. A
        new key is used from the next request on.
        """
        with self.audit.change("project.update") as change, self.keys.exclusively():
            project = self.get_project(id_or_name)
            change.about(project_id=project.id)
            # Later than the last change, be that within the same millisecond: proxies tell changes by it.
            moment = max(datetime.now(UTC), project.updated_at + timedelta(milliseconds=1))
            changes = {"updated_at": rfc3339(moment), **columns(Project, given, project)}
            if changes.get("active", project.active) != project.active:
                changes["deactivated_at"] = None if changes["active"] else rfc3339(datetime.now(UTC))
            if api_key is not None:
                self._check_key(api_key)
                changes["api_key"] = self.keys.seal(project.id, api_key)
            with _conflict(_NAME_TAKEN.format(given.get("name"))):
                self._update("projects", project.id, changes)
            changed = self.get_project(project.id)
            after = facts(changed)
            if api_key is not None:
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

    def top_up_claimed(self, owner: Project | Token, side: Side, name: str, budget: Budget) -> list[Gauge]:
        """Add to the budget of one user, address or label, for the present period; returns its use."""
        claimed = Claimed.of(owner, side, name)
        with self.audit.change(f"{side}.topup") as change:
            if isinstance(owner, Token):
                _about(change, owner)
            else:
                change.about(project_id=owner.id)
            claimed.check(budget)
            topups.add(self._connection, claimed.id, budget, at=time.time())
            change.note({}, {"topup": str(budget), side: name})
        return claimed.gauges(self._connection, time.time())

    def activate_project(self, id_or_name: str) -> Project:
        return self.update_project(id_or_name, active=True)

    def deactivate_project(self, id_or_name: str) -> Project:
        """Refuse all tokens of the project from the next request on."""
        return self.update_project(id_or_name, active=False)

    # Tokens

    def create_token(
        self, project: str, *, prefix: str = validation.TOKEN_PREFIX, **given: Any
    ) -> tuple[Token, Secret]:
        """Make a new token of `project` (id or name), and its text, which cannot be read again later.

        `given`: by the names of the fields of :class:`store.tokens.models.Token`; defaults for the others.
        """
        return self.create_tokens([TokenOrder(project, **given)], prefix=prefix)[0]

    def create_tokens(
        self, orders: Sequence[TokenOrder], *, prefix: str = validation.TOKEN_PREFIX
    ) -> list[tuple[Token, Secret]]:
        """Make new tokens and give them with their texts, in the order given. All are made, or none."""
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
            lifetimes = {name: Lifetimes.of_project(owner.as_dict()) for name, owner in owners.items()}
            rows = [
                token_row(order, owners[order.project].id, lifetimes[order.project], text, prefix)
                for order, text in zip(orders, texts, strict=True)
            ]
            for row in rows:
                self._check_name(row["name"], row["project_id"])
            if len(names := [row["name"] for row in rows if row["name"]]) > len(set(names)):
                raise Conflict("two of the tokens have one name; give each another.")
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
        """Give what is used of each of the token's limits."""
        return gauges_of_token(self._connection, token, time.time())

    def grant_use(self, grant: Grant) -> list[Gauge]:
        """Give what is used of each limit that calls with this grant, and what it claims, count for."""
        return gauges_of_grant(self._connection, grant, time.time())

    def use_of_calls(self, token: Token) -> list[Gauge]:
        """Give what is used of a token's limits, its project's, and those of the labels that they say."""
        found = self.grant_use(Grant(self.get_project(token.project_id), token))
        return [gauge for gauge in found if gauge.side in (TOKEN.side, PROJECT.side, LABEL.side)]

    def project_use(self, project: Project) -> list[Gauge]:
        """Give what all its tokens have used of each of the project's limits."""
        return gauges_of_project(self._connection, project, time.time())

    def explained(self, token_id: str, explain: Callable[[Connection, Grant], Explanation]) -> Explanation:
        """Give what `explain` makes of a token."""
        token = self.get_token(token_id)
        return explain(self._connection, Grant(self.get_project(token.project_id), token))

    def list_tokens(
        self,
        project: str | None = None,
        *,
        after: str = "",
        limit: int | None = None,
        projects: Collection[str] | None = None,
        on_damaged: OnDamaged = log_damaged,
    ) -> list[Token]:
        """List all tokens, or those of one project (id or name), oldest first.

        `on_damaged` gets the unreadable.

        `after`: only those behind this id; `limit`: no more than so many that can be read; `projects`: only
        those of these ids.
        """
        found = self.each_token(project, after=after, projects=projects, on_damaged=on_damaged)
        return list(islice(found, limit))

    def each_token(
        self,
        project: str | None = None,
        *,
        after: str = "",
        projects: Collection[str] | None = None,
        on_damaged: OnDamaged = log_damaged,
    ) -> Iterator[Token]:
        """Give the tokens that :meth:`list_tokens` lists, read a page at a time."""
        values: dict[str, Any] = {"after": after}
        query = "SELECT * FROM tokens WHERE id > :after"
        if projects is not None:
            query, values["projects"] = f"{query} AND project_id IN :projects", list(projects)
        if project is not None:
            query, values["of"] = f"{query} AND project_id = :of", self.get_project(project).id
        query += f" ORDER BY id LIMIT {AT_ONCE:d}"
        while rows := self._connection.rows(query, **values):
            yield from readable(token_of, rows, on_damaged)
            values["after"] = rows[-1]["id"]

    def count_tokens(self, project_id: str | None = None) -> int:
        """Count all tokens, or those of one project."""
        query, values = "SELECT COUNT(*) AS number FROM tokens", dict[str, Any]()
        if project_id is not None:
            query, values = f"{query} WHERE project_id = :of", {"of": project_id}
        return int(self._connection.rows(query, **values)[0]["number"])

    def update_token(self, token_id: str, **given: Any) -> Token:
        """Change what is given: fields, by their names in :class:`store.tokens.models.Token`.

        A field is a value that replaces all that there was, or a function of the present one: so no change of
        a part is lost to another's.
        """
        with self._changing("token.update", token_id) as present:
            if changes := columns(Token, given, present):
                if changes.get("name") != present.name:
                    self._check_name(changes.get("name"), present.project_id)
                self._check_expiry(changes, present)
                self._update("tokens", token_id, changes)
        return self.get_token(token_id)

    def revoke_token(self, token_id: str) -> Token:
        """Refuse the token from the next request on. There is no way back; make a new one instead."""
        with self._changing("token.revoke", token_id) as before:
            if before.active:
                self._update("tokens", token_id, {"active": 0, "revoked_at": rfc3339(datetime.now(UTC))})
        return self.get_token(token_id)

    def top_up_token(self, token_id: str, budget: Budget) -> Token:
        """Add to one of its budgets, for the present period; to `total` for ever."""
        with self.audit.change("token.topup") as change:
            token = self.get_token(token_id)
            _about(change, token)
            self._top_up(change, token, f"token {token_id}", budget)
        return token

    def top_up_session(self, text: str, budget: Budget) -> list[Gauge]:
        """Let an agent's session go on: add to its budget in all (:func:`store.ledger.sessions.find`)."""
        with self.audit.change("session.topup") as change:
            token_id, name = sessions.find(self._connection, text)
            token = self.get_token(token_id)
            _about(change, token)
            limits = stricter(token.session_limits, self.get_project(token.project_id).session_limits)
            if limits.budget(budget.unit, budget.period) is None:
                raise Conflict(
                    f"sessions of token {token_id} have no budget {budget.name} to add to; give them one "
                    "with `llmproxy token update --session-budget`."
                )
            topups.add(self._connection, session_id(token_id, name), budget, at=time.time())
            change.note({}, {"topup": str(budget), "session": name})
        return self.session_use(token, name)

    def session_use(self, token: Token, name: str) -> list[Gauge]:
        """Give what an agent's session has used of its budgets; without a name, the calls that name none."""
        grant = Grant(self.get_project(token.project_id), token, claims={"session": name})
        id_ = session_id(token.id, name)
        return account_of(self._connection, SESSION, id_, grant, time.time()).gauges

    def select_tokens(self, selection: Selection) -> list[Token]:
        """Give the tokens that are not revoked and fit, oldest first."""
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
        found = readable(token_of, self._connection.rows(query, **values), log_damaged)
        return [token for token in found if selection.metadata.items() <= token.metadata.items()]

    def revoke_tokens(self, selection: Selection) -> list[Token]:
        """Refuse all that fit from the next request on, in one transaction; returns them."""
        with self.audit.change("token.revoke") as change:
            found = self.select_tokens(selection)
            now = datetime.now(UTC)
            revoked = [replace(token, active=False, revoked_at=now) for token in found]
            for start in range(0, len(found), AT_ONCE):
                ids = [token.id for token in found[start : start + AT_ONCE]]
                self._connection.run(
                    "UPDATE tokens SET active = 0, revoked_at = :now WHERE id IN :ids",
                    ids=ids,
                    now=rfc3339(now),
                )
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
        """Raise Invalid for what is neither a key nor a reference, such as one of our own tokens."""
        if key_references.is_reference(api_key):
            key_references.check(api_key)
            return
        validation.api_key(api_key)
        if self._connection.rows(
            "SELECT 1 FROM tokens WHERE sha256 = :sha256", sha256=token_text.fingerprint(api_key)
        ):
            raise Invalid("the API key is one of the proxy's tokens; give the real key.")

    def _check_name(self, name: str | None, project_id: str) -> None:
        """Raise Conflict where another token of the project has the name, and is not revoked."""
        if name is not None and self._connection.rows(
            "SELECT 1 FROM tokens WHERE name = :name AND project_id = :project_id AND active = 1",
            name=name,
            project_id=project_id,
        ):
            raise Conflict(
                f"the project has a token named {name!r}; choose another name, or revoke that one."
            )

    def _check_expiry(self, changes: Mapping[str, Any], present: Token) -> None:
        """Raise Invalid for another expiry that is beyond the maximum; one that was there before may stay."""
        if EXPIRY not in changes:
            return
        ends = fields_of(Token)[EXPIRY].kind.read(changes[EXPIRY])
        if ends != present.expires_at:
            project = self.get_project(present.project_id)
            Lifetimes.of_project(project.as_dict()).check(ends, present.created_at)

    @contextmanager
    def _changing(self, action: str, token_id: str) -> Iterator[Token]:
        """Run one transaction with its row in the audit log; gives the token as it is before."""
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
