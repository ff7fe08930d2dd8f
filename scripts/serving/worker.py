"""Run one proxy of ``llmproxy serve``: mitmdump, on sockets that are open already."""

from __future__ import annotations

import sys

from mitmproxy.tools.main import mitmdump

from addons.mitm import listeners
from scripts.serving.lifeline import watch_starter


def main() -> None:
    """Run mitmdump with the arguments given; end in order when the process that started this one is gone."""
    watch_starter()
    listeners.use_inherited()
    mitmdump(sys.argv[1:])


if __name__ == "__main__":
    main()
