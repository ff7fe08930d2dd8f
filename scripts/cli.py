"""Run the ``llmproxy`` command."""

from __future__ import annotations

import os
from pathlib import Path

import click

from scripts.lazy import LazyGroup
from scripts.options import Places, places
from store.audit.origin import VARIABLE
from store.core import configuration

COMMANDS = {
    "up": (
        "scripts.quickstart.command:up",
        "Start the proxy and a dispatcher on this machine, and make one call through them.",
    ),
    "serve": (
        "scripts.serving.command:serve",
        "Serve with several proxies on one port: one for each core.",
    ),
    "project": (
        "scripts.commands.access.project:project",
        "Projects: each holds a real API key that its tokens stand for.",
    ),
    "keys": (
        "scripts.commands.access.keys:keys",
        "Project keys at rest: encrypted with a master key, or kept elsewhere.",
    ),
    "apply": (
        "scripts.commands.access.apply:apply",
        "Make the projects and tokens of a file, and change those that differ.",
    ),
    "export": (
        "scripts.commands.access.apply:export",
        "Write the projects, and their tokens that have a name, as a file for `apply`.",
    ),
    "token": ("scripts.commands.access.token:token", "Tokens: made for an application, revoked at any time."),
    "management-token": (
        "scripts.commands.access.management_token:management_token",
        "Named tokens of the management API, with a role each, revoked at any time.",
    ),
    "sessions": (
        "scripts.commands.access.sessions:sessions",
        "Sessions of coding agents: what each one cost, and its calls in order.",
    ),
    "session": (
        "scripts.commands.access.sessions:session",
        "Let an agent's session go on beyond its budget.",
    ),
    "budget": ("scripts.commands.access.budget:budget", "Put right what budgets were charged with."),
    "store": ("scripts.commands.store:store", "The store as a whole: check, backup, restore, copy."),
    "audit": (
        "scripts.commands.audit:audit",
        "Every change of the store and every refused authentication, in a chain of hashes.",
    ),
    "objects": (
        "scripts.commands.objects:objects",
        "Objects that the API keeps under ids: files, responses, threads, batches ... and whose they are.",
    ),
    "batches": (
        "scripts.commands.objects:batches",
        "List the batches whose usage is not counted yet, newest first.",
    ),
    "cloudwatch": (
        "scripts.commands.cloudwatch:cloudwatch",
        "Set CloudWatch up, and print the rights that are needed.",
    ),
    "run": (
        "scripts.client.run:run",
        "Run a program with the proxy, its certificate and a token in the environment.",
    ),
    "env": ("scripts.client.run:env", "Print what `run` would set, as lines for a shell, with a new token."),
    "me": (
        "scripts.client.me:me",
        "Show a token's limits, what is left of them and when they reset; or its usage, or one call.",
    ),
    "doctor": (
        "scripts.client.doctor:doctor",
        "Check that everything works here, with remedies for what does not.",
    ),
    "dispatch": (
        "scripts.commands.dispatch:dispatch",
        "Send the events of the spool to CloudWatch Logs, files and other backends.",
    ),
    "cache": (
        "scripts.commands.cache:cache",
        "Answers that proxies keep to give them again: see what there is, and remove it.",
    ),
    "report": (
        "scripts.commands.figures.report:report",
        "What was used, by whom, and what is left of the budgets.",
    ),
    "status": (
        "scripts.commands.status:status",
        "Show what the proxies have recorded, and what waits to be sent.",
    ),
    "prove": (
        "scripts.commands.figures.prove:prove_",
        "Compare calls accepted, events recorded and events delivered, writer by writer.",
    ),
    "spool": (
        "scripts.commands.spool:spool",
        "Look at the events on their way, check them, and send them again.",
    ),
    "import": (
        "scripts.commands.figures.import_traffic:import_",
        "Turn recorded traffic into events: of mitmproxy, of a browser, of tests.",
    ),
    "prices": (
        "scripts.commands.figures.prices:prices",
        "Show, check and update the prices that calls are charged.",
    ),
    "reconcile": (
        "scripts.commands.figures.reconcile:reconcile_",
        "Hold our sums against the vendor's own usage and costs, and say what explains each difference.",
    ),
    "reprice": (
        "scripts.commands.figures.reprice:reprice",
        "Price recorded calls again, where their cost is not known.",
    ),
    "addon-path": (
        "scripts.commands.addon_path:addon_path",
        "Print the path of the addon's script, wherever it is installed.",
    ),
    "config": (
        "scripts.commands.config:config",
        "Settings of the proxy, the commands and the dispatcher, and the file that may hold them all.",
    ),
    "tokenizers": (
        "scripts.commands.tokenizers:tokenizers",
        "Vocabularies for counting the tokens that the API does not report.",
    ),
}
"""It says where each command is, and the first sentence of its help, which a test holds against the
command."""


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from store.core.version import llmproxy_version  # noqa: PLC0415 - its library takes a while

        click.echo(f"llmproxy {llmproxy_version()}")
        ctx.exit()


def _use_configuration(_ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
    """Name the file in the environment, where everything looks for it, and every child."""
    if path is not None:
        os.environ[configuration.VARIABLE] = str(Path(path).absolute())


@click.group(cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--actor",
    envvar=VARIABLE,
    show_envvar=True,
    metavar="NAME",
    help="Who you are, for the audit log: a claim beside the system's user.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_use_configuration,
    metavar="PATH",
    help="Another llmproxy.toml than that of the working folder, or of /etc/llmproxy (LLMPROXY_CONFIG).",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@places
def main(*, actor: str | None, places: Places) -> None:
    """Manage the projects and tokens of the proxy, and send its events on.

    \b
    llmproxy project create acme --api-key -
    llmproxy token create --project acme --metadata team=search --expires 30d
    llmproxy dispatch --service cloudwatch --log-group /llm/usage --follow

    --store and --spool may stand before or after the verb. Exit codes: 0 done, 1 what was asked for failed
    or was not found, 2 wrong usage.
    """
    places.actor = actor
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False


if __name__ == "__main__":
    main(prog_name="llmproxy")
