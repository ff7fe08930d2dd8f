"""The ``llmproxy`` command."""

from __future__ import annotations

import click

from scripts.lazy import LazyGroup
from scripts.options import Places, places
from store.audit.origin import VARIABLE

COMMANDS = {
    "project": "scripts.project_commands:project",
    "keys": "scripts.keys_commands:keys",
    "token": "scripts.token_commands:token",
    "store": "scripts.store_commands:store",
    "audit": "scripts.audit_commands:audit",
    "objects": "scripts.objects_commands:objects",
    "batches": "scripts.objects_commands:batches",
    "cloudwatch": "scripts.cloudwatch_commands:cloudwatch",
    "run": "scripts.run_command:run",
    "env": "scripts.run_command:env",
    "doctor": "scripts.doctor_command:doctor",
    "dispatch": "scripts.dispatch_command:dispatch",
    "report": "scripts.report_commands:report",
    "status": "scripts.status_command:status",
    "prove": "scripts.prove_command:prove_",
    "spool": "scripts.spool_commands:spool",
    "import": "scripts.import_command:import_",
    "reprice": "scripts.reprice_command:reprice",
    "tokenizers": "scripts.tokenizers:tokenizers",
}


@click.group(cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--actor",
    envvar=VARIABLE,
    show_envvar=True,
    metavar="NAME",
    help="Who you are, for the audit log: a claim beside the system's user.",
)
@places
def main(*, actor: str | None, places: Places) -> None:
    """Manage the projects and tokens of the proxy, and send its events on.

    \b
    llmproxy project create acme --api-key sk-...
    llmproxy token create --project acme --metadata team=search --expires 30d
    llmproxy dispatch --service cloudwatch --log-group /llm/usage --follow

    --store and --spool may stand before or after the verb. Exit codes: 0 done, 1 what was asked for failed
    or was not found, 2 wrong usage.
    """
    places.actor = actor


if __name__ == "__main__":
    main(prog_name="llmproxy")
