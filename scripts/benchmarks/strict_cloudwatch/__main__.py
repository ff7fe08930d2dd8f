"""Run the server as a process of its own, until it is ended.

It is ``python -m scripts.benchmarks.strict_cloudwatch``.

The first line of standard output is its address. Each line of standard input that then comes is answered
with one line of JSON: how many calls and events there were so far. It ends when standard input does.
"""

from __future__ import annotations

import json
import sys

import click

from scripts.benchmarks.strict_cloudwatch.server import StrictCloudWatch


@click.command()
@click.option("--port", type=int, default=0, help="0 for any that is free.")
@click.option("--keep/--count", default=False, help="Whether the messages are kept, or only counted.")
@click.option("--per-second", type=int, help="Throttle calls beyond this.")
def main(port: int, keep: bool, per_second: int | None) -> None:
    """Serve CloudWatch Logs on 127.0.0.1."""
    with StrictCloudWatch(port=port, keep=keep, per_second=per_second) as server:
        print(server.url, flush=True)
        for _ in sys.stdin:
            stored = sum(sum(group.counts.values()) for group in list(server.logs.groups.values()))
            print(json.dumps({"puts": len(server.puts), "stored": stored}), flush=True)


if __name__ == "__main__":
    main()
