"""The environment that puts a program behind the proxy, whatever it is written in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.processes import OF_THE_STORE

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Never through the proxy, which refuses private destinations."""

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Read by Python, Go and OpenSSL; by requests; by curl; by Node."""
DROPPED = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID")
"""Would lead past the proxy, or say who pays, which the token does."""

SHELLS = ("sh", "fish", "powershell")


@dataclass(frozen=True, slots=True)
class WayIn:
    """How clients reach one proxy."""

    url: str
    """Of the listener that takes CONNECT, such as ``http://127.0.0.1:8080``."""
    bundle: Path
    """Certificate authorities: the proxy's and all others that are trusted here."""
    reverse_url: str | None = None
    """Of the reverse listener, if there is one; without ``/v1``."""


def variables(way: WayIn, token: str, before: Mapping[str, str]) -> dict[str, str | None]:
    """What to set, and (with None) what to take away, for a client with the environment `before`.

    With a reverse listener ``OPENAI_BASE_URL`` is set too: OpenAI's SDK for JavaScript goes through a proxy
    only on Node >= 24 (``NODE_USE_ENV_PROXY``), but reads its base URL everywhere.
    """
    changes: dict[str, str | None] = {name: None for name in DROPPED if name in before}
    changes |= {"HTTPS_PROXY": way.url, "https_proxy": way.url}
    bypass = _bypass(before)
    changes |= {"NO_PROXY": bypass, "no_proxy": bypass}
    changes |= dict.fromkeys(BUNDLE_VARIABLES, str(way.bundle))
    changes |= {"NODE_USE_ENV_PROXY": "1", "OPENAI_API_KEY": token}
    if "AZURE_OPENAI_API_KEY" in before:
        changes["AZURE_OPENAI_API_KEY"] = token
    if way.reverse_url:
        changes["OPENAI_BASE_URL"] = f"{way.reverse_url}/v1"
    return changes


def _bypass(before: Mapping[str, str]) -> str:
    """NO_PROXY without what would let calls to OpenAI bypass the proxy, with this machine added."""
    given = ",".join(value for name in ("NO_PROXY", "no_proxy") if (value := before.get(name)))
    kept = [entry.strip() for entry in given.split(",") if entry.strip()]
    kept = [entry for entry in kept if entry != "*" and not _names_openai(entry)]
    return ",".join(dict.fromkeys([*kept, *LOCAL]))


def _names_openai(entry: str) -> bool:
    name = entry.lower().lstrip("*.").partition(":")[0]
    return any(host == name or host.endswith(f".{name}") for host in ("api.openai.com", "x.openai.azure.com"))


def apply(changes: Mapping[str, str | None], before: Mapping[str, str]) -> dict[str, str]:
    """The environment after `changes`. The secrets of the store are no client's business."""
    after = {name: value for name, value in before.items() if name not in {*changes, *OF_THE_STORE}}
    return after | {name: value for name, value in changes.items() if value is not None}


def render(changes: Mapping[str, str | None], shell: str) -> str:
    """Lines for a shell to evaluate."""
    write = {"sh": _sh, "fish": _fish, "powershell": _powershell}[shell]
    return "\n".join(write(name, value) for name, value in changes.items())


def _sh(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str | None) -> str:
    if value is None:
        return f"set -e {name}"
    # Within single quotes fish knows two escapes: of the quote and of the backslash.
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str | None) -> str:
    if value is None:
        return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
    quoted = value.replace("'", "''")
    return f"$Env:{name} = '{quoted}'"
