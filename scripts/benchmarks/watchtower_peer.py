"""Send the lines of a file through watchtower, a handler of Python's logging for CloudWatch Logs: the peer.

    python -m scripts.benchmarks.watchtower_peer FILE ENDPOINT GROUP STREAM [wait]

The lines are in memory before the clock starts. With ``wait`` one line is sent, then it waits for a line on
standard input. Prints one JSON object: seconds from the first line to the end of `close`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import boto3
import watchtower


def main() -> None:
    """Send all."""
    file, endpoint, group, stream, *wait = sys.argv[1:]
    lines = Path(file).read_text().splitlines()
    client = boto3.client("logs", endpoint_url=endpoint)
    handler = watchtower.CloudWatchLogHandler(
        log_group_name=group, log_stream_name=stream, boto3_client=client
    )
    logger = logging.getLogger("peer")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    if wait:
        logger.info(lines.pop())
        handler.flush()  # type: ignore[no-untyped-call]
        print("ready", flush=True)
        sys.stdin.readline()
    begin = time.monotonic()
    for line in lines:
        logger.info(line)
    handler.close()  # type: ignore[no-untyped-call]
    print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)


if __name__ == "__main__":
    main()
