"""Share what all handlers of the management API need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from addons.caching.answers import AnswerCache
from addons.checks.history import History
from addons.management_api.access import Attempts
from addons.management_api.oidc.code_flow import CodeFlow
from addons.management_api.oidc.verifier import Verifier
from addons.management_api.sessions import FOLDER, SIGN_IN_FOLDER, Sessions, SignIns
from addons.management_api.store_thread import StoreThread
from addons.settings.options import Settings
from store.core.secret import Secret

Denied = Callable[[str | None], None]
"""Told of a request without the management token, and its address."""


@dataclass(frozen=True, slots=True)
class Api:
    """Holds the API of one proxy; :meth:`close` ends its threads."""

    writing: StoreThread
    """Does what changes something, and what is read at once."""
    reading: StoreThread
    """Does what may take seconds: sums, and looks into the spool. No change waits behind it."""
    token: Secret | None
    denied: Denied
    attempts: Attempts
    oidc: Verifier | None
    """It says who else is let in."""
    code_flow: CodeFlow | None
    """It says how people sign in to the page at an issuer; None: they don't."""
    references: Sequence[str]
    """Globs of places of keys that may be named."""
    settings: Callable[[], Settings]
    """The options in force."""
    cache: Callable[[], AnswerCache | None]
    """The cache of answers; None where there is none."""
    history: Callable[[], History]
    """It is what calls have used."""
    listeners: Callable[[], Mapping[str, str]]
    """It says where the proxy listens for calls, ``HOST:PORT`` by the kind of its mode."""

    @property
    def spool(self) -> Path:
        return self.settings().spool

    @property
    def sessions(self) -> Sessions:
        """Give the sessions of the page."""
        return Sessions(self.spool / FOLDER)

    @property
    def sign_ins(self) -> SignIns:
        """Give the sign-ins that are at the issuer."""
        return SignIns(self.spool / SIGN_IN_FOLDER)

    def close(self) -> None:
        """Finish what has begun; what waits is dropped."""
        self.writing.close()
        self.reading.close()
