"""Read projects and tokens as a file declares them, and find what has to change for a store to be so.

::

    projects:
      - name: search
        api_key: env:SEARCH_OPENAI_KEY      # where the key is kept; never the key itself
        limits: {budgets: [50usd/month]}
        tokens:
          - name: ranking
            metadata: {team: ranking}
            expires_at: "2027-01-01"

Fields are those of the management API (:mod:`addons.management_api.model_fields`). What a file does not name
is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.model_fields import given, names_of
from store.core.errors import Invalid
from store.keys import key_references
from store.tokens.fields import fields_of
from store.tokens.lifetimes import EXPIRY, Lifetimes
from store.tokens.models import Project, Token
from store.tokens.store import TokenStore

OF_PROJECT = ("name", "api_key", "active", "tokens")


@dataclass(frozen=True, slots=True)
class Declared:
    """Is a project or a token of the file: its name, and what is said of it by the names of its fields."""

    name: str
    fields: Mapping[str, Any]
    api_key: str | None = None
    active: bool | None = None
    tokens: Sequence[Declared] = ()


@dataclass(slots=True)
class Step:
    """Describes one change of the store."""

    action: str
    """``create``, ``update``, ``activate``, ``deactivate`` or ``revoke``."""
    project: str
    token: str | None
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Present and new values, as JSON, by field."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """For the store."""
    api_key: str | None = None

    def as_dict(self) -> dict[str, Any]:
        changes = {name: {"from": old, "to": new} for name, (old, new) in self.changes.items()}
        return {"action": self.action, "project": self.project, "token": self.token, "changes": changes}


def read(path: Path) -> list[Declared]:
    """Read a file. Raises Invalid, which names the place, and OSError."""
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    projects = found.get("projects") if isinstance(found, Mapping) else None
    if not isinstance(projects, list) or found.keys() != {"projects"}:
        raise Invalid(f"{path}: write one list, called projects.")
    declared = [_project(path, index, one) for index, one in enumerate(projects)]
    _check_once(f"{path}: projects", declared)
    return declared


def _project(path: Path, index: int, found: Any) -> Declared:
    where = f"{path}: projects[{index}]"
    fields = _fields(where, found, (*OF_PROJECT, *names_of(Project)))
    key = found.get("api_key")
    if key is not None and not (isinstance(key, str) and key_references.is_reference(key)):
        raise Invalid(f"{where}.api_key: name where the key is kept (env:NAME, file:/PATH ...), not the key.")
    tokens = found.get("tokens") or []
    if not isinstance(tokens, list):
        raise Invalid(f"{where}.tokens: write a list.")
    declared = [_token(f"{where}.tokens[{place}]", one) for place, one in enumerate(tokens)]
    _check_once(f"{where}.tokens", declared)
    with _named(where):
        return Declared(fields.required("name"), given(fields, Project), key, fields.flag("active"), declared)


def _token(where: str, found: Any) -> Declared:
    fields = _fields(where, found, names_of(Token))
    with _named(where):
        return Declared(fields.required("name"), given(fields, Token))


def _fields(where: str, found: Any, known: Sequence[str]) -> Fields:
    if not isinstance(found, Mapping):
        raise Invalid(f"{where}: write fields, such as name.")
    with _named(where):
        return Fields(found, known)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn an error of a field into one that names its place in the file."""
    try:
        yield
    except ApiError as error:
        raise Invalid(f"{where}: {error.message}") from error


def _check_once(where: str, declared: Sequence[Declared]) -> None:
    names = [one.name for one in declared]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Invalid(f"{where}: {twice[0]!r} is there twice.")


def steps(store: TokenStore, declared: Sequence[Declared], *, prune: bool) -> Iterator[Step]:
    """Yield what has to be done, in the order in which it can be.

    `prune`: revoke named tokens of declared projects that the file does not name, and deactivate projects
    that it does not name. Tokens without a name are nobody's to prune. Raises Invalid for a new project
    without a key, and for values that the store does not take.
    """
    present = {project.name: project for project in store.list_projects()}
    for one in declared:
        project = present.get(one.name)
        is_active = project is None or project.active
        yield from _steps_of_project(one, project)
        if one.active and not is_active:
            yield Step("activate", one.name, None)
        yield from _steps_of_tokens(store, one, project, prune=prune)
        if one.active is False and is_active:
            yield Step("deactivate", one.name, None)
    if prune:
        wanted = {one.name for one in declared}
        for name, project in present.items():
            if name not in wanted and project.active:
                yield Step("deactivate", name, None)


def _steps_of_project(one: Declared, project: Project | None) -> Iterator[Step]:
    changes = _changes(Project, f"project {one.name!r}", one.fields, project)
    if project is None:
        if one.api_key is None:
            raise Invalid(f"project {one.name!r} is new: write its api_key (env:NAME, file:/PATH ...).")
        yield Step("create", one.name, None, changes, one.fields, one.api_key)
        return
    key = one.api_key if one.api_key and one.api_key != project.key.text else None
    if key:
        changes["api_key"] = project.key.kind, key
    if changes:
        yield Step("update", one.name, None, changes, one.fields, key)


def _steps_of_tokens(
    store: TokenStore, one: Declared, project: Project | None, *, prune: bool
) -> Iterator[Step]:
    tokens = {} if project is None else {token.name: token for token in _named_tokens(store, project)}
    for each in one.tokens:
        found = tokens.pop(each.name, None)
        changes = _changes(Token, f"token {each.name!r} of {one.name!r}", each.fields, found)
        _check_expiry(one, project, each, found)
        if found is None:
            yield Step("create", one.name, each.name, changes, each.fields)
        elif changes:
            yield Step("update", one.name, each.name, changes, each.fields)
    if prune:
        yield from (Step("revoke", one.name, name) for name in tokens)


def _check_expiry(one: Declared, project: Project | None, each: Declared, found: Token | None) -> None:
    """Raise Invalid, before the first change, for a token that the store would refuse for its expiry."""
    lifetimes = Lifetimes.of_project({**({} if project is None else project.as_dict()), **one.fields})
    try:
        if found is None:
            lifetimes.given(each.fields, datetime.now(UTC))
        elif EXPIRY in each.fields and each.fields[EXPIRY] != found.expires_at:
            lifetimes.check(each.fields[EXPIRY], found.created_at)
    except Invalid as error:
        raise Invalid(f"token {each.name!r} of {one.name!r}: {error}") from error


def _named_tokens(store: TokenStore, project: Project) -> Iterator[Token]:
    """Yield those that are not revoked and have a name."""
    return (token for token in store.each_token(project.id) if token.active and token.name)


def _changes(
    model: type, called: str, said: Mapping[str, Any], present: Project | Token | None
) -> dict[str, tuple[Any, Any]]:
    """Compare what is said with what is there, field by field, as the store keeps it. Raises Invalid."""
    found = {}
    for name, wanted in said.items():
        of = fields_of(model)[name]
        old = of.default if present is None else getattr(present, name)
        try:
            column = of.changed(wanted, old)
        except Invalid as error:
            raise Invalid(f"{called}: {error}") from error
        before = of.kind.show(old) if old is not None else None
        after = of.kind.show(of.kind.read(column)) if column is not None else None
        if before != after:
            found[name] = before, after
    return found


def take(store: TokenStore, step: Step) -> str | None:
    """Do one step. Returns the text of a token that was made."""
    if step.token is None:
        _take_project(store, step)
        return None
    project = store.get_project(step.project)
    if step.action == "create":
        return store.create_token(project.id, **step.said)[1].reveal()
    (token,) = (one for one in _named_tokens(store, project) if one.name == step.token)
    if step.action == "revoke":
        store.revoke_token(token.id)
    else:
        store.update_token(token.id, **step.said)
    return None


def _take_project(store: TokenStore, step: Step) -> None:
    if step.action == "create":
        assert step.api_key is not None
        store.create_project(step.project, step.api_key, **_without_name(step.said))
    elif step.action == "update":
        key = {"api_key": step.api_key} if step.api_key else {}
        store.update_project(step.project, **_without_name(step.said), **key)
    elif step.action == "activate":
        store.activate_project(step.project)
    else:
        store.deactivate_project(step.project)


def _without_name(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "name"}


def exported(store: TokenStore) -> dict[str, Any]:
    """Return the content of a file that declares the store's projects, and their tokens that have a name."""
    return {
        "projects": [
            {
                "name": project.name,
                **({"api_key": project.key.text} if project.key.is_reference else {}),
                **({} if project.active else {"active": False}),
                **_shown(Project, project),
                "tokens": [_shown(Token, token) for token in _named_tokens(store, project)],
            }
            for project in store.list_projects()
        ]
    }


def _shown(model: type, of: Project | Token) -> dict[str, Any]:
    """Return the fields that can be given and are not at their defaults; the name first."""
    shown = {"name": of.name} if isinstance(of, Token) else {}
    for name in names_of(model):
        each = fields_of(model)[name]
        value = getattr(of, name)
        if value is not None and value != each.default and (text := each.kind.show(value)) not in ({}, []):
            shown[name] = text
    return shown
