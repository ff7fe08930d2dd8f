"""Run the ``llmproxy`` command: ``python -m llmproxy``."""

from llmproxy import main

main()
