"""Take defaults of our options from ``llmproxy.toml``; ``--set`` and mitmproxy's own files go before them."""

from __future__ import annotations

import os
import typing
from collections.abc import Sequence
from typing import Any

from addons.settings.option import Add
from store.core.configuration import Configuration, meant
from store.core.errors import Invalid

VARIABLES = {
    "llm_store": "LLMPROXY_STORE",
    "llm_spool": "LLMPROXY_SPOOL",
    "llm_prices": "LLMPROXY_PRICES",
    "llm_bus": "LLMPROXY_BUS",
}
"""Options that a variable sets as well."""
SHARED = {"llm_store": "store", "llm_spool": "spool"}
"""Options that the commands need too: outside the table ``[proxy]``, and read with the variables."""


class ConfiguredDefaults:
    """Adds options with the file's values as their defaults, where no variable of the environment gives one.

    `add` is mitmproxy's ``add_option``: name, type, default, help.
    """

    def __init__(self, add: Add, configuration: Configuration) -> None:
        self._add = add
        self._configuration = configuration
        self._known: set[str] = set()

    def __call__(self, name: str, kind: Any, default: Any, help_text: str, **rest: Any) -> None:
        """Register one option. Raises Invalid for a value of another type."""
        self._known.add(name)
        self._add(name, kind, self._default(name, kind, default), help_text, **rest)

    def _default(self, name: str, kind: Any, default: Any) -> Any:
        if name not in self._configuration.proxy or name in SHARED or os.environ.get(VARIABLES.get(name, "")):
            return default
        value = self._configuration.proxy[name]
        if not _fits(value, kind):
            wanted = "a list of texts" if kind == Sequence[str] else f"a value of type {kind.__name__}"
            raise Invalid(f"{self._configuration.path}: {name} is {value!r} in [proxy]; write {wanted}.")
        return value

    def finish(self) -> None:
        """Raise Invalid for what the file sets and nobody has added."""
        for name in self._configuration.proxy:
            where = f"{self._configuration.path}: "
            if name in SHARED:
                raise Invalid(f"{where}write {SHARED[name]} at the top in place of {name} in [proxy].")
            if name not in self._known:
                raise Invalid(f"{where}there is no option {name!r}{meant(name, self._known)}")


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is not None:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return type(value) is kind
