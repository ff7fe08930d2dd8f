"""``scripts/bench NAME``: one measurement, printed as a table."""

from __future__ import annotations

import click

from scripts.lazy import LazyGroup

BENCHMARKS: dict[str, str] = {
    "accuracy": "scripts.benchmarks.accuracy:main",
    "dispatch": "scripts.benchmarks.dispatch:dispatch",
    "faults": "scripts.benchmarks.faults.command:faults",
    "gate": "scripts.benchmarks.gate:gate",
    "inspector": "scripts.benchmarks.inspector:inspector",
    "journal": "scripts.benchmarks.journal:journal",
}
"""Name -> ``module:command``; a module is imported when its measurement is asked for."""


@click.group(cls=LazyGroup, commands=BENCHMARKS, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure the proxy and the dispatcher on this machine. Each measurement prints its own table.

    Compare figures of one run only: machines differ, and shared ones are noisy.
    """


if __name__ == "__main__":
    main(prog_name="scripts/bench")
