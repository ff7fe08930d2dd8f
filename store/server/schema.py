"""Brings the schema of a store on a server up to date, with Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from store.errors import NotFound, StoreError, StoreUnavailable
from store.server.dialects import SCHEMA_SECONDS, Dialect

STEP_SECONDS = 600.0
"""Longest time for one statement of a step: an index over a million rows takes its time."""


def prepare(engine: sqlalchemy.Engine, dialect: Dialect, where: str, *, create: bool) -> None:
    """Raises NotFound for an empty database, unless it is to be filled; StoreError for a newer schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    with engine.connect() as connection:
        if _needs_work(connection, known, where, create=create):
            # Of two processes that start together one does the steps, and the other waits for it.
            with connection.begin():
                if not dialect.lock_schema(connection):
                    raise StoreUnavailable(
                        f"{where}: another process has been changing the schema for {SCHEMA_SECONDS} s."
                    )
            if _needs_work(connection, known, where, create=create):
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        # The lock ends with the connection.


def _needs_work(connection: sqlalchemy.Connection, known: list[str], where: str, *, create: bool) -> bool:
    with connection.begin():
        present = MigrationContext.configure(connection).get_current_heads()
    if not present and not create:
        raise NotFound(f"there is no token store at {where}; `llmproxy project create` makes one.")
    if newer := [step for step in present if step not in known]:
        raise StoreError(
            f"{where} was made by a newer llmproxy (schema step {newer[0]}); update this one, "
            "or restore a backup from before."
        )
    return list(present) != [known[0]]
