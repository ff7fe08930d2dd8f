"""Make the environment that puts a program behind the proxy, whatever language it is written in.

`up`, `run`, `env` and `doctor` take it from here, and docs/clients.md is held against it by a test.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Never through the proxy, which refuses private destinations."""

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Read by Python, Go, Rust and OpenSSL; by requests; by curl; by Node."""
TOKEN_VARIABLES = ("OPENAI_API_KEY", "CODEX_API_KEY")
"""Read by OpenAI's SDKs and what is built on them; by `codex exec`."""
BASE_URL_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""Read by OpenAI's SDKs; by LlamaIndex and aider, whose names are from before the SDK's."""
TRACING_VARIABLE = "OPENAI_AGENTS_DISABLE_TRACING"
"""The Agents SDK sends traces, prompts and answers in them, to an endpoint that tokens may not call."""
DROPPED = (*BASE_URL_VARIABLES, "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID")
"""Would lead past the proxy, or say who pays, which the token does."""

OWN_VARIABLE = re.compile(r"LLMPROXY_(?!PROXY$|CA$|SPOOL$|PROJECT$|ACTOR$)\w+|DISPATCHER_\w+")
"""It is that of the proxy and its dispatcher, any of which may hold a password; without those that commands
take."""
KEY_VARIABLE = re.compile(r"OPENAI_\w*KEY\w*|CODEX_API_KEY|AZURE_OPENAI_\w*(?:KEY|TOKEN|SECRET)\w*")
"""It is that of the API's keys. An endpoint or a version of Azure's stays."""
REAL_KEY = re.compile(r"sk-(?:proj|svcacct|admin|None)-[\w-]{16,}|sk-\w{8,}T3BlbkFJ\w{8,}", re.ASCII)
"""The forms of OpenAI's own keys, whatever variable holds them."""
SHORTEST_KEY = 8
"""Characters; a shorter value is not looked for in other variables."""

SHELLS = ("sh", "fish", "powershell")


@dataclass(frozen=True, slots=True)
class WayIn:
    """Holds the addresses of one proxy, as clients use them."""

    url: str
    """It is that of the listener that takes CONNECT, such as ``http://127.0.0.1:8080``."""
    bundle: Path
    """Certificate authorities: the proxy's and all others that are trusted here."""
    reverse_url: str | None = None
    """It is that of the reverse listener, if there is one; without ``/v1``."""


def variables(way: WayIn, token: str, before: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables to set, and (with None) to unset, for a client with the environment `before`.

    With a reverse listener the base URL is set too: Node goes through a proxy from version 24 on only
    (``NODE_USE_ENV_PROXY``), but OpenAI's SDK for JavaScript reads its base URL everywhere.
    """
    changes: dict[str, str | None] = {name: None for name in DROPPED if name in before}
    changes |= {"HTTPS_PROXY": way.url, "https_proxy": way.url}
    bypass = _bypass(before)
    changes |= {"NO_PROXY": bypass, "no_proxy": bypass}
    changes |= dict.fromkeys(BUNDLE_VARIABLES, str(way.bundle))
    changes |= {"NODE_USE_ENV_PROXY": "1", TRACING_VARIABLE: _tracing(before)}
    if way.reverse_url:
        changes |= dict.fromkeys(BASE_URL_VARIABLES, f"{way.reverse_url}/v1")
    changes |= dict.fromkeys(TOKEN_VARIABLES, token)
    if "AZURE_OPENAI_API_KEY" in before:
        changes["AZURE_OPENAI_API_KEY"] = token
    return changes


def _tracing(before: Mapping[str, str]) -> str:
    """Keep the user's own choice; without one, no traces: each would be a 403, or go past the proxy."""
    return before.get(TRACING_VARIABLE) or "1"


def _bypass(before: Mapping[str, str]) -> str:
    """Return NO_PROXY with this machine, and without entries that let calls to OpenAI bypass the proxy."""
    given = ",".join(value for name in ("NO_PROXY", "no_proxy") if (value := before.get(name)))
    kept = [entry.strip() for entry in given.split(",") if entry.strip()]
    kept = [entry for entry in kept if entry != "*" and not _names_openai(entry)]
    return ",".join(dict.fromkeys([*kept, *LOCAL]))


def _names_openai(entry: str) -> bool:
    name = entry.lower().lstrip("*.").partition(":")[0]
    return any(host == name or host.endswith(f".{name}") for host in ("api.openai.com", "x.openai.azure.com"))


def apply(
    changes: Mapping[str, str | None], before: Mapping[str, str], key_variables: Collection[str] = ()
) -> dict[str, str]:
    """Return the environment after `changes`, without any secret that is no client's business.

    `key_variables` are those that projects of the store name as the places of their keys (``env:NAME``).
    """
    hidden = secrets_in(before, key_variables)
    after = {name: value for name, value in before.items() if name not in {*changes, *hidden}}
    return after | {name: value for name, value in changes.items() if value is not None}


def secrets_in(environment: Mapping[str, str], key_variables: Collection[str] = ()) -> set[str]:
    """Return the names of the variables that hold a secret: by name, by form, or as a copy of a key."""
    keys = {name for name in environment if name in key_variables or KEY_VARIABLE.fullmatch(name)}
    values = {value for name in keys if len(value := environment[name]) >= SHORTEST_KEY}
    return keys | {
        name
        for name, value in environment.items()
        if OWN_VARIABLE.fullmatch(name) or value in values or REAL_KEY.search(value)
    }


def render(changes: Mapping[str, str | None], shell: str) -> str:
    """Write `changes` as lines for a shell to evaluate."""
    write = {"sh": _sh, "fish": _fish, "powershell": _powershell}[shell]
    return "\n".join(write(name, value) for name, value in changes.items())


def paste(changes: Mapping[str, str | None]) -> list[str]:
    """Write `changes` for a person to paste into a POSIX shell: one line for all that get the same value."""
    names: dict[str, list[str]] = {}
    for name, value in changes.items():
        if value is not None:
            names.setdefault(value, []).append(name)
    unset = [name for name, value in changes.items() if value is None]
    return [
        *([f"unset {' '.join(unset)}"] if unset else []),
        *(
            "export " + " ".join(f"{name}={shlex.quote(value)}" for name in group)
            for value, group in names.items()
        ),
    ]


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
