"""Read ``llmproxy.toml``: one file for the proxy, the commands and the dispatcher.

::

    store = "data/store.db"             # LLMPROXY_STORE, --store
    spool = "data/spool"                # LLMPROXY_SPOOL, --spool
    project = "search"                  # LLMPROXY_PROJECT, --project
    token_lifetime = "30d"              # LLMPROXY_TOKEN_LIFETIME
    token_max_lifetime = "90d"          # LLMPROXY_TOKEN_MAX_LIFETIME

    [proxy]                             # any option of mitmproxy that is ours
    llm_management = "127.0.0.1:9090"

    [dispatch]                          # what `llmproxy dispatch --config` takes
    service = "cloudwatch"
    cloudwatch.log_group = "/llm/usage"

A variable of the environment goes before the file, and a flag before both. It is read anew at each question:
it is asked for at a start only.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.core.errors import Invalid

VARIABLE = "LLMPROXY_CONFIG"
PLACES = (Path("llmproxy.toml"), Path("/etc/llmproxy/llmproxy.toml"))
"""It says where the file is looked for, when the variable does not name it: the working folder, then the
system."""
TEXTS = ("store", "spool", "project", "token_lifetime", "token_max_lifetime")
TABLES = ("proxy", "dispatch")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Holds what the file says; nothing where there is none."""

    path: Path | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    proxy: Mapping[str, Any] = field(default_factory=dict)
    dispatch: Mapping[str, Any] = field(default_factory=dict)

    def place(self, name: str) -> str | None:
        """Return a path or URL that the file gives; a path without a root is one beside the file."""
        text = self.texts.get(name)
        if text is None or "://" in text or self.path is None:
            return text
        return str(self.path.parent / Path(text).expanduser())


def load() -> Configuration:
    """Read the file that ``LLMPROXY_CONFIG`` names, else the first of :data:`PLACES` that exists.

    Raises Invalid for one that is named and can't be read, and for what is not understood in it.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named).expanduser() if named else next((one for one in PLACES if one.is_file()), None)
    if path is None:
        return Configuration()
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}; correct {VARIABLE} or --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not TOML: {error}.") from error
    for name, value in found.items():
        if name in TEXTS and not isinstance(value, str):
            raise Invalid(f"{path}: {name} is {value!r}; write a text.")
        if name in TABLES and not isinstance(value, dict):
            raise Invalid(f"{path}: {name} is {value!r}; write it as a table, [{name}].")
        if name not in (*TEXTS, *TABLES):
            raise Invalid(f"{path}: there is no setting {name!r}{meant(name, (*TEXTS, *TABLES))}")
    return Configuration(
        path.absolute(),
        {name: found[name] for name in TEXTS if name in found},
        found.get("proxy", {}),
        found.get("dispatch", {}),
    )


def meant(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about a name that nobody knows."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}."
