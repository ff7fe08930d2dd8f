"""Run ``llmproxy me``: show what is left of a token, with nothing but the token and the proxy's URL."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import click
import urllib3

from scripts.commands.access.limit_options import show_use
from scripts.output import show, show_all
from store.core.urls import split_url

SECONDS = 30.0
LONGEST = 2**20
NO_PROXY = "it is no proxy of this kind, or its llm_self_service is off"
FIGURES = ("calls", "input_tokens", "output_tokens", "usd", "unpriced", "lower_bound")


@click.command()
@click.option(
    "--url",
    envvar="OPENAI_BASE_URL",
    show_envvar=True,
    required=True,
    help="The proxy's URL, as clients use it: http://HOST:PORT/v1.",
)
@click.option(
    "--token",
    envvar="OPENAI_API_KEY",
    show_envvar=True,
    required=True,
    help="The proxy token; better by the environment, where no process list shows it.",
)
@click.option(
    "--ca", envvar="SSL_CERT_FILE", help="File with the certificates to trust, where the URL is https."
)
@click.option("--usage", is_flag=True, help="What it has used in the last 30 days, by day and model.")
@click.option("--by", default="day,model", show_default=True, help="With --usage: by what.")
@click.option("--since", default="30d", show_default=True, help="With --usage: since when.")
@click.option("--call", metavar="ID", help="One call: what an answer's x-llmproxy-request-id says.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def me(  # noqa: PLR0913 - one for each option
    *,
    url: str,
    token: str,
    ca: str | None,
    usage: bool,
    by: str,
    since: str,
    call: str | None,
    as_json: bool,
) -> None:
    """Show a token's limits, what is left of them and when they reset; or its usage, or one call.

    The proxy answers by itself: it costs nothing and counts as no call.
    """
    if usage and call:
        raise click.UsageError("--usage and --call are two questions; ask one.")
    base = url.rstrip("/").removesuffix("/v1") + "/v1/llmproxy"
    if call:
        show(_ask(f"{base}/calls/{quote(call, safe='')}", token, ca), as_json=as_json)
    elif usage:
        found = _ask(f"{base}/usage?{urlencode({'by': by, 'since': since})}", token, ca)
        if as_json:
            show(found, as_json=True)
        else:
            # A proxy of another version may have fewer figures.
            known: dict[str, Any] = next(iter(found["data"]), {})
            columns = [*found["by"], *(name for name in FIGURES if name in known)]
            show_all(
                found["data"],
                columns,
                as_json=False,
                nothing="There are no calls.",
                droppable=("output_tokens", "input_tokens"),
            )
    else:
        found = _ask(f"{base}/me", token, ca)
        if as_json:
            show(found, as_json=True)
            return
        rows = found.pop("use")
        show({name: value for name, value in found.items() if value not in (None, [], {})}, as_json=False)
        click.echo()
        show_use(rows, as_json=False)


def _ask(url: str, token: str, ca: str | None) -> dict[str, Any]:
    if split_url(url).scheme not in ("http", "https"):
        raise click.UsageError(f"--url: {url[:80]}: write http://HOST:PORT/v1.")
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    try:
        pool = urllib3.PoolManager(timeout=urllib3.Timeout(SECONDS), retries=False, ca_certs=ca)
        answer = pool.request("GET", url, headers=headers, redirect=False)
        found = json.loads(answer.data[:LONGEST])
    except urllib3.exceptions.HTTPError as error:
        raise click.ClickException(f"{split_url(url).netloc}: {error}.") from error
    except ValueError as error:
        raise click.ClickException(
            f"{split_url(url).netloc} is no proxy of this kind: it answers no JSON."
        ) from error
    if answer.status != 200 or not isinstance(found, dict):
        message = (found.get("error") or {}).get("message") if isinstance(found, dict) else None
        raise click.ClickException(f"{answer.status}: {message or NO_PROXY}")
    return found
