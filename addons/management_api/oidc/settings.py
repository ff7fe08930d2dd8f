"""Say whose tokens are taken, and what they open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.flow.network.addresses import is_loopback
from store.core.errors import Invalid
from store.core.urls import split_url
from store.tokens.management_tokens import ADMIN, PROJECT, READ


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives a role to those who have `value` among the values of `claim`."""

    role: str
    claim: str
    """A name, or names with dots between: ``realm_access.roles``."""
    value: str
    project: str | None = None
    """Id or name, of the role `project`."""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read ``admin:groups=platform`` or ``project/search:groups=search-team``. Raises Invalid."""
        role, colon, rest = text.partition(":")
        claim, equals, value = rest.partition("=")
        role, slash, project = role.partition("/")
        known = role in (ADMIN, READ) if not slash else role == PROJECT and bool(project)
        if not (colon and equals and claim and value and known):
            raise Invalid(
                f"{text[:80]!r}: write admin:CLAIM=VALUE, read:CLAIM=VALUE or project/NAME:CLAIM=VALUE."
            )
        return cls(role, claim, value, project or None)

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether the claims say so."""
        found: Any = claims
        for name in self.claim.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        values = found if isinstance(found, list) else [found]
        return any(isinstance(value, str) and value == self.value for value in values)


@dataclass(frozen=True, slots=True)
class OidcClient:
    """Describes the page as the issuer has it registered."""

    id: str
    secret: str | None
    """A reference to where it is kept; None for a public client."""
    scopes: str


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Says whose tokens are taken, and what they open."""

    issuer: str
    audience: str | None
    """It is the audience of tokens that the API takes; with None it takes none."""
    rules: Sequence[Rule]
    client: OidcClient | None = None
    """With which people sign in to the page; None: they don't."""


def check_issuer(issuer: str) -> None:
    """Take only an issuer that nobody on the way can play: keys come from there. Raises Invalid."""
    parts = split_url(issuer)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (
        parts.scheme == "http" and (host == "localhost" or is_loopback(host))
    ):
        raise Invalid(f"{issuer[:80]!r}: only https:// is taken (http:// on this machine).")
