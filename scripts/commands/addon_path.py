"""Run ``llmproxy addon-path``: print the script that mitmproxy is started with."""

from __future__ import annotations

import click

from scripts.client.proxy_process import SCRIPT


@click.command(name="addon-path")
def addon_path() -> None:
    """Print the path of the addon's script, wherever it is installed.

    \b
    mitmdump -s "$(llmproxy addon-path)"
    """
    click.echo(SCRIPT)
