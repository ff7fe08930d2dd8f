"""The ``llmproxy`` command."""

from __future__ import annotations

import importlib

import click

from scripts.options import Places, places

COMMANDS = {
    "project": "scripts.project_commands:project",
    "token": "scripts.token_commands:token",
    "dispatch": "scripts.dispatch_command:dispatch",
    "import": "scripts.import_command:import_",
    "tokenizers": "scripts.tokenizers:tokenizers",
}


class LazyGroup(click.Group):
    """Imports a command when it is used: ``token list`` does not wait for boto3."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@places
def main(places: Places) -> None:
    """Manage the projects and tokens of the proxy, and send its events on.

    \b
    llmproxy project create acme --api-key sk-...
    llmproxy token create --project acme --metadata team=search --expires 30d
    llmproxy dispatch --service cloudwatch --log-group /llm/usage --follow

    --store and --spool may stand before or after the verb. Exit codes: 0 done, 1 what was asked for failed
    or was not found, 2 wrong usage.
    """


if __name__ == "__main__":
    main(prog_name="llmproxy")
