"""Finding a proxy that runs already."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from scripts import trust
from scripts.client_environment import WayIn
from scripts.options import Places

NONE_RUNS = "no proxy runs on this spool; start one (./scripts/up), or name it with --proxy URL."
MITMPROXY_FOLDER = Path("~/.mitmproxy")
CACHE = Path("~/.cache/llmproxy")


def find(places: Places, proxy: str | None, ca: Path | None) -> WayIn | None:
    """The way into the proxy at `proxy`, or into one that runs on the spool; None where there is none."""
    if proxy is None:
        return None
    if urlsplit(proxy).scheme != "http" or not urlsplit(proxy).port:
        raise click.UsageError(f"--proxy {proxy!r}: write http://HOST:PORT.")
    return WayIn(proxy.rstrip("/"), _bundle(places, ca))


def _bundle(places: Places, ca: Path | None) -> Path:
    """A bundle that trusts the proxy's authority, in the user's cache, not beside it."""
    usual = (places.store.resolve().parent / "ca", MITMPROXY_FOLDER.expanduser())
    candidates = [ca] if ca else [folder / trust.CA_FILE for folder in usual]
    for authority in candidates:
        if authority.is_file():
            digest = hashlib.sha256(authority.read_bytes()).hexdigest()
            folder = CACHE.expanduser() / f"ca-{digest[:16]}"
            folder.mkdir(parents=True, exist_ok=True)
            return trust.write_bundle(folder, os.environ, authority)
    raise click.ClickException(
        f"the proxy's certificate authority is not at {' or '.join(map(str, candidates))}; name it with --ca."
    )
