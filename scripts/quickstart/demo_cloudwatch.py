"""Run a CloudWatch Logs on this machine, played by moto, for ``up --cloudwatch demo``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

LOG_GROUP = "/llm/usage"
REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
"""moto takes any."""


class DemoCloudWatch:
    """Runs moto's server at one port."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def command(self) -> list[str]:
        return [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(self._port)]

    def options(self) -> tuple[str, ...]:
        """Return the dispatcher's options that lead to it."""
        return ("--log-group", LOG_GROUP, "--region", REGION, "--endpoint-url", self.url)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def message(self, event_id: str) -> str | None:
        """Return the text of one event; None where it has not come yet."""
        logs = self._client()
        try:
            found = logs.filter_log_events(logGroupName=LOG_GROUP)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return None
        return next((one["message"] for one in found if event_id in one["message"]), None)

    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 - takes a second, and only the demo needs it

        session = boto3.Session("any", "any", region_name=REGION)
        return session.client("logs", endpoint_url=self.url)
