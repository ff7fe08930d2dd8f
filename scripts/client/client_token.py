"""Find the token that a client of the proxy gets: one that was given, or a new one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

import click

from scripts.options import Places, open_store
from scripts.quickstart.credentials import KeyRefused, real_key
from store.core.errors import NotFound
from store.core.secret import Secret
from store.tokens.lookups import lookup_of
from store.tokens.models import Project
from store.tokens.store import TokenStore

DEFAULT_PROJECT = "default"
FIND_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ClientToken:
    """Holds a token for a client, and its id where the store here knows it."""

    text: Secret
    id: str | None


def given(places: Places, text: str) -> ClientToken:
    """Give a token that the user has; its store may be elsewhere."""
    grant = None
    if places.store.exists():
        lookup = lookup_of(places.store)
        try:
            found = lookup.find(text)
            grant = found.result(FIND_SECONDS) if isinstance(found, Future) else found
        finally:
            lookup.close()
    return ClientToken(Secret(text), grant.token.id if grant else None)


def made(places: Places, project: str | None, expires: datetime, metadata: Mapping[str, str]) -> ClientToken:
    """Make a token of `project`; without one, of project "default", or of the only one there is.

    Where there is none yet and ``OPENAI_API_KEY`` holds a real key, project "default" is made of it. A store
    that somebody has named is never made: it was there before.
    """
    with open_store(places, create=not places.store_given) as store:
        owner = store.get_project(store.project_id(project)) if project else _usual_project(store)
        token, text = store.create_token(owner.id, expires_at=expires, metadata=metadata)
    return ClientToken(text, token.id)


def key_variables(places: Places) -> set[str]:
    """Return the variables that projects of the store name as the places of their keys (``env:NAME``)."""
    if not places.store.exists():
        return set()
    with open_store(places) as store:
        references = [project.key.text for project in store.list_projects() if project.key.is_reference]
    return {name for scheme, _, name in (text.partition(":") for text in references) if scheme == "env"}


def revoke(places: Places, token: ClientToken) -> None:
    if token.id is not None:
        with open_store(places) as store:
            store.revoke_token(token.id)


def _usual_project(store: TokenStore) -> Project:
    active = [project for project in store.list_projects() if project.active]
    chosen = active if len(active) == 1 else [one for one in active if one.name == DEFAULT_PROJECT]
    if chosen:
        return chosen[0]
    if active:
        names = ", ".join(project.name for project in active)
        raise click.UsageError(
            f"there are several projects ({names}); choose one with --project or LLMPROXY_PROJECT, "
            f"or name one {DEFAULT_PROJECT!r}."
        )
    try:
        key = real_key(os.environ)
    except KeyRefused as error:
        raise click.ClickException(str(error)) from error
    if key is None:
        raise NotFound(
            "there is no project yet; make one with `llmproxy project create NAME --api-key -`, "
            "or set OPENAI_API_KEY to the real key."
        )
    return store.create_project(DEFAULT_PROJECT, key)
