"""The token that a client of the proxy gets: one that was given, or a new one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

import click

from scripts.options import Places, open_store
from scripts.up_credentials import KeyRefused, real_key
from store.errors import NotFound
from store.lookup import lookup_of
from store.models import Project
from store.secret import Secret
from store.tokens import TokenStore

DEFAULT_PROJECT = "default"
FIND_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ClientToken:
    """A token for a client, and its id where the store here knows it."""

    text: Secret
    id: str | None


def given(places: Places, text: str) -> ClientToken:
    """A token that the user has; its store may be elsewhere."""
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
    """A new token of `project`, or of the only one there is.

    Where there is none yet and ``OPENAI_API_KEY`` holds a real key, project "default" is made of it.
    """
    with open_store(places, create=True) as store:
        owner = store.get_project(project) if project else _only_project(store)
        token, text = store.create_token(owner.id, expires_at=expires, metadata=metadata)
    return ClientToken(text, token.id)


def revoke(places: Places, token: ClientToken) -> None:
    if token.id is not None:
        with open_store(places) as store:
            store.revoke_token(token.id)


def _only_project(store: TokenStore) -> Project:
    active = [project for project in store.list_projects() if project.active]
    if len(active) == 1:
        return active[0]
    if active:
        names = ", ".join(project.name for project in active)
        raise click.UsageError(f"there are several projects ({names}); choose one with --project.")
    try:
        key = real_key(os.environ)
    except KeyRefused as error:
        raise click.ClickException(str(error)) from error
    if key is None:
        raise NotFound(
            "there is no project yet; make one with `llmproxy project create NAME --api-key KEY`, "
            "or set OPENAI_API_KEY to the real key."
        )
    return store.create_project(DEFAULT_PROJECT, key)
