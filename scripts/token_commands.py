"""``llmproxy token``: what applications hold in place of a key."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from scripts import token_file
from scripts.limit_options import TOPUP, LimitChanges, show_with_use, token_limits
from scripts.metadata_options import Metadata, metadata_changed, metadata_given
from scripts.options import Duration, Expiry, Pair, Places, open_store, places, prices_option
from scripts.output import show, show_all
from store import validation
from store.engine import engine_of
from store.limits import Budget
from store.models import Selection

if TYPE_CHECKING:
    from addons.cost import Prices

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
TOKEN = click.argument("token_id", metavar="ID")
EXPIRES = click.option(
    "--expires", type=Expiry(), help="When it ends: 30d, 12h, a date, or never.  [default: never]"
)
MAX_REQUESTS = click.option("--max-requests", type=click.IntRange(0), help="Calls that it may make in all.")
PREFIX = click.option(
    "--prefix",
    envvar="LLMPROXY_TOKEN_PREFIX",
    show_envvar=True,
    default=validation.TOKEN_PREFIX,
    show_default=True,
    help="How the token's text begins.",
)
COLUMNS = (
    "id",
    "prefix",
    "active",
    "expires_at",
    "request_count",
    "max_requests",
    "last_used_at",
    "last_used_from",
    "metadata",
)


@click.group()
def token() -> None:
    """Tokens: made for an application, revoked at any time. ID is the token's id, not its text."""


@token.command()
@click.option("--project", required=True, metavar="ID_OR_NAME", help="The project that pays.")
@metadata_given
@EXPIRES
@MAX_REQUESTS
@token_limits
@PREFIX
@JSON
@places
def create(  # noqa: PLR0913 - one for each option
    *,
    project: str,
    metadata: Metadata,
    expires: datetime | str | None,
    max_requests: int | None,
    limits: LimitChanges,
    prefix: str,
    as_json: bool,
    places: Places,
) -> None:
    """Make a token. Its text is shown now and never again: only its hash is kept."""
    with open_store(places) as store:
        made, text = store.create_token(
            project,
            expires_at=_moment(expires),
            max_requests=max_requests,
            **metadata.given(),
            limits=limits.made,
            prefix=prefix,
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
        COLUMNS,
        as_json=as_json,
        nothing="There are no tokens yet; make one with `llmproxy token create`.",
    )


@token.command(name="show")
@TOKEN
@JSON
@places
def show_(*, token_id: str, as_json: bool, places: Places) -> None:
    """Show a token, and what is used of its limits and of its project's."""
    with open_store(places) as store:
        token = store.get_token(token_id)
        gauges = [*store.token_use(token), *store.project_use(store.get_project(token.project_id))]
    show_with_use(token.as_dict(), gauges, as_json=as_json)


@token.command()
@TOKEN
@TOPUP
@JSON
@places
def topup(*, token_id: str, amount: Budget, as_json: bool, places: Places) -> None:
    """Add to a budget of a token: 5usd, 5usd/day, 100000tokens/month. It counts from the next call on.

    It is for the present period; for the budget in all (total), which is meant where no period is given, it
    is for ever.
    """
    with open_store(places) as store:
        changed = store.top_up_token(token_id, amount)
        show_with_use(changed.as_dict(), store.token_use(changed), as_json=as_json)


@token.command()
@TOKEN
@metadata_changed
@EXPIRES
@MAX_REQUESTS
@click.option("--no-max-requests", is_flag=True, help="Let it make any number of calls.")
@token_limits
@JSON
@places
def update(  # noqa: PLR0913 - one for each option
    *,
    token_id: str,
    metadata: Metadata,
    expires: datetime | str | None,
    max_requests: int | None,
    no_max_requests: bool,
    limits: LimitChanges,
    as_json: bool,
    places: Places,
) -> None:
    """Change a token. Pairs and names of metadata, and budgets, are added to those that it has.

    Lists (--model, --endpoint, --network) take the place of the present ones; 'none' removes a limit.
    """
    changes = metadata.changes()
    if expires is not None:
        changes["expires_at"] = _moment(expires)
    if max_requests is not None or no_max_requests:
        changes["max_requests"] = None if no_max_requests else max_requests
    if limits:
        changes["limits"] = limits
    if not changes:
        raise click.UsageError("nothing to change; see --help for what can be.")
    with open_store(places) as store:
        show(store.update_token(token_id, **changes).as_dict(), as_json=as_json)


@token.command()
@TOKEN
@click.option("--endpoint", default="chat", show_default=True, help="Its name, as in docs/endpoints.md.")
@click.option("--model", help="The model that is asked for.")
@click.option("--client", metavar="ADDRESS", help="Where the call comes from.  [default: an allowed network]")
@click.option(
    "--body", type=click.File("rb"), metavar="FILE", help="The request's JSON; '-' for standard input."
)
@prices_option
@JSON
@places
def explain(  # noqa: PLR0913 - one for each option
    *,
    token_id: str,
    endpoint: str,
    model: str | None,
    client: str | None,
    body: BinaryIO | None,
    prices: Prices | None,
    as_json: bool,
    places: Places,
) -> None:
    """Say whether a call would pass, and why not; what it would hold, and what is left of each limit.

    It goes by the functions of the proxy's gate and by the store, as a proxy that has just begun; but not by
    the options of a running one (llm_endpoints, llm_models). `may_exceed_by` is what a budget
    in the mode `expected` can be exceeded by, at worst, if all calls were like this one. Takes nothing.
    """
    from addons.cost import BUNDLED  # noqa: PLC0415 - prices take 0.2 s to load
    from addons.policy.history import History  # noqa: PLC0415
    from scripts.explanation import Question, explain  # noqa: PLC0415 - and mitmproxy half a second

    asked, history = Question(endpoint, model, client, _object(body)), History()
    with open_store(places) as store:
        history.seed(engine_of(places.store))
        answer = store.explained(
            token_id, lambda db, grant: explain(db, grant, asked, prices or BUNDLED, history)
        )
    if as_json:
        show(answer, as_json=True)
        return
    rows, why_not = answer.pop("limits"), answer.pop("refusal")
    answer["allowed"] = "yes" if why_not is None else "no: {status} {code}: {message}".format(**why_not)
    show(answer, as_json=False)
    if rows:
        click.echo()
        show_all(rows, list(rows[0]), as_json=False, nothing="")


@token.command()
@TOKEN
@click.option(
    "--overlap",
    type=Duration(),
    default="1h",
    show_default=True,
    help="How long the present text is good, too; 0s ends it at once.",
)
@PREFIX
@JSON
@places
def rotate(*, token_id: str, overlap: timedelta, prefix: str, as_json: bool, places: Places) -> None:
    """Give a token a new text, shown now and never again. Its id, counts and limits stay."""
    with open_store(places) as store:
        changed, text = store.rotate_token(token_id, overlap=overlap, prefix=prefix)
    show({"token": text.reveal(), **changed.as_dict()}, as_json=as_json)


@token.command(name="import")
@click.argument("file", type=click.File(encoding="utf-8-sig"), metavar="FILE")
@click.option("--project", metavar="ID_OR_NAME", help="Of rows that name none.")
@PREFIX
@JSON
@places
def import_(*, file: TextIO, project: str | None, prefix: str, as_json: bool, places: Places) -> None:
    """Make a token for each row of a CSV file ('-': standard input): all of them, or none.

    The first row names the columns: project, expires (30d, a date ...), max_requests, metadata.KEY for
    any key, metadata (a JSON object), header_metadata (names, with spaces between), and limits as the options
    of `token create`: rpm, tpm, max_concurrent, budget ("5usd/day 100usd/month") ...; all may be left out or
    empty. Prints the file with the columns id and token added; that is the only time the tokens are shown.
    """
    table = token_file.read(file, project)
    with open_store(places) as store:
        made = store.create_tokens(table.orders, prefix=prefix)
    if as_json:
        show_all(
            [{"token": text.reveal(), **token.as_dict()} for token, text in made],
            (),
            as_json=True,
            nothing="",
        )
    else:
        click.echo(table.with_tokens(made), nl=False)


@token.command()
@click.argument("token_id", metavar="[ID]", required=False)
@click.option("--project", metavar="ID_OR_NAME", help="All tokens of this project.")
@click.option(
    "--metadata", type=Pair(), multiple=True, help="All tokens that have this pair; may be repeated."
)
@click.option("--older-than", type=Duration(), help="All tokens that were made longer ago: 90d, 12h.")
@click.option("--unused-for", type=Duration(), help="All tokens that were made, and used last, longer ago.")
@click.option("--dry-run", is_flag=True, help="Only list what would be revoked.")
@JSON
@places
def revoke(
    *,
    token_id: str | None,
    dry_run: bool,
    as_json: bool,
    places: Places,
    **criteria: Any,
) -> None:
    """Refuse a token from the next call on, for good; or all tokens that fit every option given."""
    chosen = any(value not in (None, ()) for value in criteria.values())
    if (token_id is None) != chosen or (dry_run and not chosen):
        raise click.UsageError("give either the ID of one token, or options that say which; see --help.")
    with open_store(places) as store:
        if token_id is not None:
            show(store.revoke_token(token_id).as_dict(), as_json=as_json)
            return
        selection = _selection(**criteria)
        found = store.select_tokens(selection) if dry_run else store.revoke_tokens(selection)
    show_all([token.as_dict() for token in found], COLUMNS, as_json=as_json, nothing="No token fits.")


def _selection(
    *,
    project: str | None,
    metadata: tuple[tuple[str, str], ...],
    older_than: timedelta | None,
    unused_for: timedelta | None,
) -> Selection:
    now = datetime.now(UTC)
    return Selection(
        project,
        dict(metadata),
        None if older_than is None else now - older_than,
        None if unused_for is None else now - unused_for,
    )


def _object(file: BinaryIO | None) -> dict[str, Any] | None:
    """A request's body. Raises UsageError."""
    if file is None:
        return None
    try:
        value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--body {file.name}: not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"--body {file.name}: write an object, as a client sends it.")
    return value


def _moment(expires: datetime | str | None) -> datetime | None:
    return expires if isinstance(expires, datetime) else None
