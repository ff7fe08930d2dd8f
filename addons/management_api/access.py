"""Admit to the management API whoever holds the management token, or one with a name and a role."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import exceptions

from store.core.errors import NotFound
from store.core.secret import Secret
from store.tokens import naming
from store.tokens.management_tokens import ADMIN, PROJECT, ManagementToken
from store.tokens.models import Project, Token
from store.tokens.store import TokenStore

VARIABLE = "LLMPROXY_MANAGEMENT_TOKEN"
FILE_VARIABLE = "LLMPROXY_MANAGEMENT_TOKEN_FILE"
SHORTEST = 32
"""Characters: too much to guess, even where nothing slows that down."""
FAILURES = 60.0
"""Log-ins of one address that may fail in a minute."""
MOST_ADDRESSES, MOST_GOOD = 10_000, 1000
"""That are remembered."""


def management_token(environment: Mapping[str, str]) -> Secret | None:
    """Give the token, None where there is none.

    Raises OptionsError; the token is never part of the message.
    """
    value, file = environment.get(VARIABLE), environment.get(FILE_VARIABLE)
    if value and file:
        raise exceptions.OptionsError(f"llmproxy: {VARIABLE} and {FILE_VARIABLE} are both set; unset one.")
    if not value and not file:
        return None
    where = VARIABLE
    if file:
        where = f"{FILE_VARIABLE}={file}"
        try:
            value = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise exceptions.OptionsError(f"llmproxy: {where}: {reason}.") from error
    token = (value or "").strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise exceptions.OptionsError(
            f"llmproxy: {where} holds no management token: that has {SHORTEST} or more letters, digits and "
            "signs; `openssl rand -hex 32` makes one."
        )
    return Secret(token)


@dataclass(frozen=True, slots=True)
class Caller:
    """Identifies who asks."""

    actor: str
    """For the audit log."""
    role: str
    projects: frozenset[str] | None = None
    """Ids of the only projects that exist for them; None for all."""

    def project(self, store: TokenStore, id_or_name: str) -> Project:
        """Find a project; one that is not theirs is not there. Raises NotFound."""
        found = store.get_project(id_or_name)
        if self.projects is not None and found.id not in self.projects:
            raise NotFound(f"there is no project {id_or_name!r}; `llmproxy project list` shows all.")
        return found

    def token(self, store: TokenStore, token_id: str) -> Token:
        """Find a token; one of another's project is not there. Raises NotFound."""
        found = store.get_token(token_id)
        if self.projects is not None and found.project_id not in self.projects:
            raise NotFound(f"there is no token with the id {token_id!r}; `llmproxy token list` shows all.")
        return found

    def token_meant(self, store: TokenStore, text: str) -> Token:
        """Find a token by its id, its name, the beginning of its id, or its prefix, among theirs.

        Raises NotFound, and Invalid where several are meant.
        """
        return self.token(store, self.token_id(store, text))

    def token_id(self, store: TokenStore, text: str) -> str:
        """Return the id of the token that is meant; `text` itself where there is none. Raises Invalid."""
        return naming.token_id(store.connection, text, self.projects)


OWNER = Caller("management token", ADMIN)
"""Whoever holds the token of the environment."""


def caller_of(token: ManagementToken) -> Caller:
    """Return who holds a token with a name."""
    projects = frozenset(token.projects) if token.role == PROJECT else None
    return Caller(f"management token:{token.name}", token.role, projects)


def bearer(authorization: str) -> str:
    """Return the token in a header ``Authorization``; an empty text where it holds none."""
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def is_allowed(authorization: str, token: Secret) -> bool:
    """Tell whether a request's header ``Authorization`` holds `token`."""
    return Secret(bearer(authorization)) == token


class Attempts:
    """Count failed log-ins by address, so that guessing soon costs the store nothing. For the event loop.

    Tokens that were good before are asked about all the same: nobody locks out who shares an address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """It is what an address may still get wrong, and when that was so."""
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def may_try(self, address: str | None, text: str) -> bool:
        """Tell whether the store may be asked about a token."""
        return self._digest(text) in self._good or self._room(address or "") >= 1

    def failed(self, address: str | None) -> None:
        """Take note of a log-in that failed."""
        address = address or ""
        self._left[address] = (max(0.0, self._room(address) - 1), self._clock())
        self._left.move_to_end(address)
        while len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)

    def succeeded(self, text: str) -> None:
        """Take note of a token that is good."""
        self._good[self._digest(text)] = None
        while len(self._good) > MOST_GOOD:
            self._good.popitem(last=False)

    def _room(self, address: str) -> float:
        left, at = self._left.get(address, (FAILURES, 0.0))
        return min(FAILURES, left + (self._clock() - at) * FAILURES / 60)

    @staticmethod
    def _digest(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
