"""List and change the table of objects as the operator does; every change is in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from store.core.times import rfc3339
from store.objects import table as objects
from store.objects.table import Object, Owner, Wanted
from store.tokens import validation
from store.tokens.store import TokenStore

MOST_NAMED = 100
"""Ids of objects in one row of the audit log."""


def adopt(
    store: TokenStore, ids: Sequence[str], kind: str, *, project: str | None = None, token: str | None = None
) -> list[Object]:
    """Give objects to a project (id or name), to a token, or, with neither, to everybody."""
    ids = [validation.object_id(id_) for id_ in ids]
    owner = Owner(None)
    if token is not None:
        owner = Owner(store.get_token(token).project_id, token)
    elif project is not None:
        owner = Owner(store.get_project(project).id)
    with store.audit.change("object.adopt") as change:
        change.about(project_id=owner.project_id, token_id=owner.token_id)
        moved = objects.adopt(store.connection, ids, kind, owner)
        named = [*ids[:MOST_NAMED], *(["..."] if len(ids) > MOST_NAMED else [])]
        change.note(None, {"ids": named, "objects": len(ids), "taken_from_others": moved})
    return objects.listed(store.connection, Wanted(ids=ids, most=len(ids)))


def listed(store: TokenStore, wanted: Wanted) -> list[Object]:
    """List objects, newest first."""
    return objects.listed(store.connection, wanted)


def prune(store: TokenStore, before: datetime) -> int:
    """Forget objects that were made before, unless their usage is still to be counted."""
    removed = 0
    with store.audit.change("object.prune") as change:
        while step := objects.prune(store.connection, before=int(before.timestamp())):
            removed += step
        change.note(None, {"objects": removed, "before": rfc3339(before)})
    return removed
