"""Run ``llmproxy apply`` and ``llmproxy export``: projects and tokens as a file kept with the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from scripts.cells import as_text
from scripts.commands.access import declaration
from scripts.options import Places, open_store, places
from scripts.output import show_all

COLUMNS = ("action", "project", "token_name", "changes")


@click.command()
@click.option(
    "--file",
    "-f",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="YAML: projects and their tokens, by name.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--prune",
    is_flag=True,
    help="Revoke named tokens, and deactivate projects, that the file does not name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@places
def apply(*, path: Path, dry_run: bool, prune: bool, as_json: bool, places: Places) -> None:
    """Make the projects and tokens of a file, and change those that differ. Done twice, it does nothing more.

    Fields are those of the management API; what the file does not name stays. Tokens that it makes are shown
    now and never again. Keys are named by where they are kept (env:NAME, file:/PATH), and never in the file.
    """
    declared = declaration.read(path)
    rows = []
    with open_store(places, create=not dry_run) as store:
        # All of it is checked before the first change.
        for step in list(declaration.steps(store, declared, prune=prune)):
            text = None if dry_run else declaration.take(store, step)
            rows.append({**step.as_dict(), "text": text})
    show_all(
        rows if as_json else map(_row, rows),
        (*COLUMNS, "text") if any(row["text"] for row in rows) else COLUMNS,
        as_json=as_json,
        nothing="Nothing differs.",
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row for a table."""
    changes = [
        f"{name}: {as_text(change['to'])}" for name, change in row["changes"].items() if name != "name"
    ]
    return {**row, "token_name": row["token"], "changes": ", ".join(changes) or None}


@click.command()
@places
def export(*, places: Places) -> None:
    """Write the projects, and their tokens that have a name, as a file for `apply`.

    Where a key is kept is in it; a key never is. Texts of tokens are nowhere.
    """
    with open_store(places) as store:
        found = declaration.exported(store)
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(found, sys.stdout)
