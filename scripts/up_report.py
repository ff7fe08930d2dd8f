"""What ``scripts/up`` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.up_credentials import TOKEN_DAYS, Credentials
from scripts.up_services import Place

console = Console(highlight=False, soft_wrap=True)


def progress(text: str) -> None:
    console.print(text, markup=False)


def standin_notice(address: str) -> None:
    progress(
        f"No OPENAI_API_KEY: a local stand-in for the API answers at {address}; everything else is real."
    )


def ways_in(place: Place, bundle: Path, credentials: Credentials, web: str | None) -> None:
    """The lines to paste, for both ways to point a client at the proxy."""
    lines = [
        "",
        "To use it, paste into the shell of your OpenAI client either",
        "",
        f"  export HTTPS_PROXY=http://127.0.0.1:{place.port}",
        f"  export SSL_CERT_FILE={bundle} REQUESTS_CA_BUNDLE={bundle}",
        f"  export CURL_CA_BUNDLE={bundle} NODE_EXTRA_CA_CERTS={bundle}",
        f"  export OPENAI_API_KEY={credentials.token}",
        "",
        "or",
        "",
        f"  export OPENAI_BASE_URL=http://127.0.0.1:{place.reverse_port}/v1",
        f"  export OPENAI_API_KEY={credentials.token}",
        "",
        f"The token belongs to project {credentials.project!r} and is good for {TOKEN_DAYS} days.",
    ]
    if web:
        lines.append(f"Look at calls as they happen: {web}")
    for line in lines:
        progress(line)


def full_event(event: dict[str, Any]) -> None:
    """The event of the first call, as it is in the file."""
    console.print_json(json.dumps(event))


def one_line(event: dict[str, Any]) -> None:
    """A call while it all runs."""
    usage = event.get("usage") or {}
    cost = (event.get("cost") or {}).get("usd")
    parts = [
        str(event.get("timestamp", ""))[11:19],
        str(event.get("status") or event.get("outcome") or ""),
        str(event.get("path") or ""),
        str(event.get("model") or ""),
        f"{usage['total_tokens']} tokens" if usage.get("total_tokens") is not None else "",
        f"${cost}" if cost else "",
        f"{event['duration_ms']} ms" if event.get("duration_ms") is not None else "",
    ]
    progress("  ".join(part for part in parts if part))
