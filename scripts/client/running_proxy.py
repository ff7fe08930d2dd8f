"""Find a proxy that runs already."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import click

from scripts.client import trust
from scripts.client.client_environment import WayIn
from scripts.options import Places
from store.core.urls import split_url
from store.spool.status_files import read_all

NONE_RUNS = "no proxy runs on this spool; start one (llmproxy up), or name it with --proxy URL."
MITMPROXY_FOLDER = Path("~/.mitmproxy")
CACHE = Path("~/.cache/llmproxy")


def find(places: Places, proxy: str | None, ca: Path | None) -> WayIn | None:
    """Find the way into the proxy at `proxy`, or one that runs on the spool; None where there is none."""
    if proxy is None:
        return _on_spool(places)
    if split_url(proxy).scheme != "http" or not split_url(proxy).port:
        raise click.UsageError(f"--proxy {proxy!r}: write http://HOST:PORT.")
    return WayIn(proxy.rstrip("/"), _bundle(places, ca))


def _on_spool(places: Places) -> WayIn | None:
    """Give the newest living proxy of this machine that writes into the spool and can be reached."""
    for status in reversed(read_all(places.spool)):
        listening = status.value.get("listeners") or {}
        regular, reverse = (_address(listening.get(kind)) for kind in ("regular", "reverse"))
        authority = Path(str(status.value.get("authority")))
        if status.alive and regular and authority.is_file():
            return WayIn(regular, _bundle(places, authority), reverse)
    return None


def _address(listening: object) -> str | None:
    """Give the URL of ``HOST:PORT``; of a listener on all addresses, the one on this machine."""
    host, _, port = str(listening or "").rpartition(":")
    if not port.isdecimal():
        return None
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _bundle(places: Places, ca: Path | None) -> Path:
    """Give a bundle that trusts the proxy's authority, in the user's cache, not beside it."""
    usual = (places.store.folder(places.spool) / "ca", MITMPROXY_FOLDER.expanduser())
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
