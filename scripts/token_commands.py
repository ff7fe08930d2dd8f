"""``llmproxy token``: what applications hold in place of a key."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from scripts.options import Expiry, Pair, Places, open_store, places
from scripts.output import show, show_all

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
TOKEN = click.argument("token_id", metavar="ID")
METADATA = click.option(
    "--metadata", type=Pair(), multiple=True, help="A pair for the token's events; may be repeated."
)
EXPIRES = click.option(
    "--expires", type=Expiry(), help="When it ends: 30d, 12h, a date, or never.  [default: never]"
)
MAX_REQUESTS = click.option("--max-requests", type=click.IntRange(0), help="Calls that it may make in all.")


@click.group()
def token() -> None:
    """Tokens: made for an application, revoked at any time. ID is the token's id, not its text."""


@token.command()
@click.option("--project", required=True, metavar="ID_OR_NAME", help="The project that pays.")
@METADATA
@EXPIRES
@MAX_REQUESTS
@JSON
@places
def create(
    *,
    project: str,
    metadata: tuple[tuple[str, str], ...],
    expires: datetime | str | None,
    max_requests: int | None,
    as_json: bool,
    places: Places,
) -> None:
    """Make a token. Its text is shown now and never again: only its hash is kept."""
    with open_store(places) as store:
        made, text = store.create_token(
            project, expires_at=_moment(expires), max_requests=max_requests, metadata=dict(metadata)
        )
    show({"token": text.reveal(), **made.as_dict()}, as_json=as_json)


@token.command(name="list")
@click.option("--project", metavar="ID_OR_NAME", help="Only those of this project.")
@JSON
@places
def list_(*, project: str | None, as_json: bool, places: Places) -> None:
    """List tokens, oldest first."""
    with open_store(places) as store:
        rows = [token.as_dict() for token in store.list_tokens(project)]
    show_all(
        rows,
        ("id", "prefix", "active", "expires_at", "request_count", "max_requests", "last_used_at", "metadata"),
        as_json=as_json,
        nothing="There are no tokens yet; make one with `llmproxy token create`.",
    )


@token.command(name="show")
@TOKEN
@JSON
@places
def show_(*, token_id: str, as_json: bool, places: Places) -> None:
    """Show a token."""
    with open_store(places) as store:
        show(store.get_token(token_id).as_dict(), as_json=as_json)


@token.command()
@TOKEN
@METADATA
@click.option("--remove-metadata", metavar="KEY", multiple=True, help="Drop a pair; may be repeated.")
@EXPIRES
@MAX_REQUESTS
@click.option("--no-max-requests", is_flag=True, help="Let it make any number of calls.")
@JSON
@places
def update(  # noqa: PLR0913 - one for each option
    *,
    token_id: str,
    metadata: tuple[tuple[str, str], ...],
    remove_metadata: tuple[str, ...],
    expires: datetime | str | None,
    max_requests: int | None,
    no_max_requests: bool,
    as_json: bool,
    places: Places,
) -> None:
    """Change a token. Pairs of metadata are added to those that it has."""
    changes: dict[str, Any] = {}
    if expires is not None:
        changes["expires_at"] = _moment(expires)
    if max_requests is not None or no_max_requests:
        changes["max_requests"] = None if no_max_requests else max_requests
    with open_store(places) as store:
        if metadata or remove_metadata:
            kept = {**store.get_token(token_id).metadata, **dict(metadata)}
            changes["metadata"] = {key: text for key, text in kept.items() if key not in remove_metadata}
        if not changes:
            raise click.UsageError("nothing to change; see --help for what can be.")
        show(store.update_token(token_id, **changes).as_dict(), as_json=as_json)


@token.command()
@TOKEN
@JSON
@places
def revoke(*, token_id: str, as_json: bool, places: Places) -> None:
    """Refuse a token from the next call on, for good."""
    with open_store(places) as store:
        show(store.revoke_token(token_id).as_dict(), as_json=as_json)


def _moment(expires: datetime | str | None) -> datetime | None:
    return expires if isinstance(expires, datetime) else None
