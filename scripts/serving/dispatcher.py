"""Run the dispatcher of ``llmproxy serve``: ``llmproxy dispatch`` that ends with who started it."""

from __future__ import annotations

from scripts.cli import main as run
from scripts.serving.lifeline import watch_starter


def main() -> None:
    """Run the command line with the arguments given."""
    watch_starter()
    run()


if __name__ == "__main__":
    main()
