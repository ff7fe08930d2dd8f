"""List the certificate authorities that a client of the proxy has to trust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import certifi

CA_FILE = "mitmproxy-ca-cert.pem"
"""The authority of this proxy, made by mitmproxy at its first start in its `confdir`."""
BUNDLE = "bundle.pem"


def write_bundle(folder: Path, environment: Mapping[str, str], authority: Path | None = None) -> Path:
    """Write `folder`/bundle.pem: the proxy's authority and all that clients trusted before.

    `authority` is the proxy's, by default mitmproxy's file in the same folder.

    ``SSL_CERT_FILE`` and its kin replace a client's trust instead of adding to it, so that a client with only
    the proxy's authority could reach nothing but OpenAI. Authorities named by the `environment` (a company's
    own) are kept. Raises OSError.
    """
    bundle = folder / BUNDLE
    sources = [Path(certifi.where()), authority or folder / CA_FILE]
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        given = environment.get(name)
        if given and Path(given).is_file() and not _same(Path(given), bundle):
            sources.append(Path(given))
    seen: dict[str, None] = {}
    for source in sources:
        seen.update(dict.fromkeys(_certificates(source.read_text(encoding="utf-8", errors="replace"))))
    fresh = folder / f".{BUNDLE}.{os.getpid()}"
    fresh.write_text("\n".join(seen) + "\n", encoding="ascii")
    fresh.replace(bundle)
    return bundle


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _certificates(text: str) -> list[str]:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = []
    for part in text.split(begin)[1:]:
        body = part.partition(end)[0]
        found.append(f"{begin}\n{body.strip()}\n{end}")
    return found
