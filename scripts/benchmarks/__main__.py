"""Run ``scripts/bench NAME``: one measurement, printed as a table."""

from __future__ import annotations

import click

from scripts.lazy import LazyGroup

BENCHMARKS: dict[str, tuple[str, str]] = {
    "accuracy": ("scripts.benchmarks.recorded.accuracy:main", "How right reported and counted usage is."),
    "all": ("scripts.benchmarks.speed.everything:everything", "All that docs/performance.md tells."),
    "connect": ("scripts.benchmarks.speed.connect:connect", "Calls that each come over a new connection."),
    "dispatch": ("scripts.benchmarks.dispatch:dispatch", "How fast a dispatcher delivers."),
    "faults": ("scripts.benchmarks.faults.command:faults", "What faults of a backend cost."),
    "gate": ("scripts.benchmarks.gate:gate", "What the proxy adds to a call."),
    "hostile": ("scripts.benchmarks.hostile:hostile", "What hostile requests cost."),
    "http": (
        "scripts.benchmarks.speed.http:http",
        "Requests a second and CPU a request, beside bare mitmdump.",
    ),
    "inspector": ("scripts.benchmarks.inspector:inspector", "What mitmweb's views cost."),
    "interference": (
        "scripts.benchmarks.speed.interference:interference",
        "How long small calls wait while others send what takes long to read.",
    ),
    "startup": (
        "scripts.benchmarks.speed.startup:startup",
        "How long a start takes, what a first call then waits for, and how long commands take.",
    ),
    "memory": ("scripts.benchmarks.speed.memory:memory", "What memory a proxy holds, then and later."),
    "render": (
        "scripts.benchmarks.speed.everything:render",
        "Print results as tables, or put them into a page.",
    ),
    "stream": (
        "scripts.benchmarks.speed.stream:stream",
        "What event streams cost, and how late events come.",
    ),
    "journal": ("scripts.benchmarks.journal:journal", "What writing calls down costs."),
    "kills": (
        "scripts.benchmarks.faults.kills:kills",
        "Whether kills of proxies, reading processes and dispatchers lose a call.",
    ),
    "scan": ("scripts.benchmarks.scan:scan", "How fast answers beyond the capture limit are read."),
}
"""Name -> ``module:command``, which is imported when its measurement is asked for, and its short help."""


@click.group(cls=LazyGroup, commands=BENCHMARKS, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure the proxy and the dispatcher on this machine. Each measurement prints its own table.

    Compare figures of one run only: machines differ, and shared ones are noisy.
    """


if __name__ == "__main__":
    main(prog_name="scripts/bench")
