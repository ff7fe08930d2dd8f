"""Run ``llmproxy token``: keep what applications hold in place of a key."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from scripts.commands.access import token_file
from scripts.commands.access.field_options import field_options
from scripts.commands.access.limit_options import TOPUP, of_claimed, show_gauges, show_use, show_with_use
from scripts.options import Duration, Pair, Places, open_store, places, prices_option
from scripts.output import name_damaged, show, show_all
from store.database.engines import engine_of
from store.ledger.claimed import OF_TOKEN
from store.tokens import validation
from store.tokens.amounts import Budget
from store.tokens.fields import fields_of
from store.tokens.models import Selection, Token
from store.tokens.subjects import Side

if TYPE_CHECKING:
    from addons.recording.cost import Prices

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
TOKEN = click.argument("token_id", metavar="ID")
MAY_EXCEED = (
    "Note: a budget in the mode 'expected' can be exceeded by what calls under way use beyond what they "
    "hold; `llmproxy token explain {0}` says by how much, and "
    "`llmproxy token update {0} --budget-mode strict` rules it out."
)
PREFIX = click.option(
    "--prefix",
    envvar="LLMPROXY_TOKEN_PREFIX",
    show_envvar=True,
    default=validation.TOKEN_PREFIX,
    show_default=True,
    help="How the token's text begins.",
)
LISTED = {name: field.in_list for name, field in fields_of(Token).items() if field.in_list is not None}
COLUMNS = sorted(LISTED, key=lambda name: LISTED[name].place)
DROPPABLE = sorted(
    (name for name in LISTED if LISTED[name].keep is not None), key=lambda name: LISTED[name].keep or 0
)
"""Columns that a narrow terminal has no room for, the least important first."""


@click.group()
def token() -> None:
    """Tokens: made for an application, revoked at any time.

    ID is the token's id or its name, the beginning of the id, or the prefix of the token's text as
    `token list` shows it.
    """


@token.command()
@click.option("--project", required=True, metavar="ID_OR_NAME", help="The project that pays.")
@field_options(Token, new=True)
@PREFIX
@JSON
@places
def create(*, project: str, fields: dict[str, Any], prefix: str, as_json: bool, places: Places) -> None:
    """Make a token. Its text is shown now and never again: only its hash is kept."""
    with open_store(places) as store:
        made, text = store.create_token(store.project_id(project), prefix=prefix, **fields)
    show({"token": text.reveal(), **made.as_dict()}, as_json=as_json)
    if made.limits.budgets and made.limits.budget_mode != "strict":
        click.echo(MAY_EXCEED.format(made.id), err=True)


@token.command(name="list")
@click.option("--project", metavar="ID_OR_NAME", help="Only those of this project.")
@JSON
@places
def list_(*, project: str | None, as_json: bool, places: Places) -> None:
    """List tokens, oldest first."""
    with open_store(places) as store:
        names = {project.id: project.name for project in store.list_projects(on_damaged=name_damaged)}
        rows = (
            {**token.as_dict(), **({} if as_json else {"project": names.get(token.project_id)})}
            for token in store.each_token(project and store.project_id(project), on_damaged=name_damaged)
        )
        show_all(
            rows,
            (COLUMNS[0], "project", *COLUMNS[1:]),
            as_json=as_json,
            nothing="There are no tokens yet; make one with `llmproxy token create`.",
            droppable=(*DROPPABLE, "project"),
        )


@token.command(name="show")
@TOKEN
@JSON
@places
def show_(*, token_id: str, as_json: bool, places: Places) -> None:
    """Show a token, and what is used of its limits, its project's, and those of the labels that they say."""
    with open_store(places) as store:
        token = store.get_token(store.token_id(token_id))
        gauges = store.use_of_calls(token)
    show_with_use(token.as_dict(), gauges, as_json=as_json)


@token.command()
@TOKEN
@TOPUP
@of_claimed(*OF_TOKEN)
@JSON
@places
def topup(
    *,
    token_id: str,
    amount: Budget,
    claimed: tuple[Side, str] | None,
    as_json: bool,
    places: Places,
) -> None:
    """Add to a budget of a token: 5usd, 5usd/day, 100000tokens/month. It counts from the next call on.

    It is for the present period; for the budget in all (total), which is meant where no period is given, it
    is for ever.
    """
    with open_store(places) as store:
        if claimed is not None:
            owner = store.get_token(store.token_id(token_id))
            show_gauges(store.top_up_claimed(owner, *claimed, amount), as_json=as_json)
            return
        changed = store.top_up_token(store.token_id(token_id), amount)
        show_with_use(changed.as_dict(), store.token_use(changed), as_json=as_json)


@token.command()
@TOKEN
@field_options(Token, new=False)
@JSON
@places
def update(*, token_id: str, fields: dict[str, Any], as_json: bool, places: Places) -> None:
    """Change a token. Pairs and names of metadata, and budgets, are added to those that it has.

    Lists (--model, --endpoint, --network) take the place of the present ones; 'none' removes a limit.
    """
    if not fields:
        raise click.UsageError("nothing to change; see --help for what can be.")
    with open_store(places) as store:
        show(store.update_token(store.token_id(token_id), **fields).as_dict(), as_json=as_json)


@token.command()
@TOKEN
@click.option("--endpoint", default="chat", show_default=True, help="Its name, as in docs/endpoints.md.")
@click.option("--model", help="The model that is asked for.")
@click.option("--client", metavar="ADDRESS", help="Where the call comes from.  [default: an allowed network]")
@click.option(
    "--body", type=click.File("rb"), metavar="FILE", help="The request's JSON; '-' for standard input."
)
@click.option(
    "--request-metadata",
    type=Pair(),
    multiple=True,
    help="What the call's header X-LLMProxy-Metadata-NAME says: NAME=VALUE; may be repeated.",
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
    request_metadata: tuple[tuple[str, str], ...],
    prices: Prices | None,
    as_json: bool,
    places: Places,
) -> None:
    """Say whether a call would pass, and why not; what it would hold, and what is left of each limit.

    It runs the gate's own list of checks on the store, as a proxy with the default options that has just
    begun; the options of a running one (llm_endpoints, llm_models) are not known to it. `may_exceed_by` is
    what a budget in the mode `expected` can be exceeded by, at worst, if all calls were like this one. Takes
    nothing.
    """
    from addons.checks.history import History  # noqa: PLC0415
    from addons.explanation import Question, explain  # noqa: PLC0415 - mitmproxy takes half a second to load
    from addons.recording.cost import BUNDLED  # noqa: PLC0415 - prices take 0.2 s to load
    from addons.settings.options import defaults  # noqa: PLC0415
    from scripts.commands.figures.prices import in_force  # noqa: PLC0415

    asked = Question(endpoint, model, client, _object(body), dict(request_metadata))
    history = History()
    settings = replace(defaults(), prices=in_force(places, prices or BUNDLED))
    with open_store(places) as store:
        history.seed(engine_of(places.store))
        token_id = store.token_id(token_id)
        answer = store.explained(token_id, lambda db, grant: explain(db, grant, asked, settings, history))
    if as_json:
        show(answer, as_json=True)
        return
    rows, why_not = answer.pop("limits"), answer.pop("refusal")
    answer["allowed"] = "yes" if why_not is None else "no: {status} {code}: {message}".format(**why_not)
    show(answer, as_json=False)
    if rows:
        click.echo()
        show_use(rows, as_json=False)


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
        changed, text = store.rotate_token(store.token_id(token_id), overlap=overlap, prefix=prefix)
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
    any key, metadata (a JSON object), parameter.FIELD for any rule, header_metadata and origin (with spaces
    between), and limits as the options of `token create`: rpm, tpm, max_concurrent, budget ("5usd/day
    100usd/month") ...; all may be left out or empty. Prints the file with the columns id and token added;
    that is the only time the tokens are shown.
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
            show(store.revoke_token(store.token_id(token_id)).as_dict(), as_json=as_json)
            return
        if criteria["project"] is not None:
            criteria["project"] = store.project_id(criteria["project"])
        selection = _selection(**criteria)
        found = store.select_tokens(selection) if dry_run else store.revoke_tokens(selection)
    show_all(
        (token.as_dict() for token in found),
        COLUMNS,
        as_json=as_json,
        nothing="No token fits.",
        droppable=DROPPABLE,
    )


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
    """Give a request's body. Raises UsageError."""
    if file is None:
        return None
    try:
        value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--body {file.name}: not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"--body {file.name}: write an object, as a client sends it.")
    return value
