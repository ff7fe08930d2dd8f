"""Judge the issuer's tokens: a JSON Web Token that is good opens what the rules say of its claims.

Keys, algorithms and times are PyJWT's business; symmetric algorithms and unsigned tokens are not taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from addons.management_api.access import Caller
from addons.management_api.oidc.issuer import Issuer
from addons.management_api.oidc.settings import OidcSettings
from store.core.errors import NotFound, StoreUnavailable
from store.tokens.management_tokens import PROJECT
from store.tokens.store import TokenStore

logger = logging.getLogger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY_SECONDS = 30
"""By which clocks may differ."""
LONGEST_SUBJECT = 100


def is_jwt(text: str) -> bool:
    """Tell whether a text has the form of a signed token."""
    return text.count(".") == 2 and text.startswith("eyJ")


class Verifier:
    """Judges tokens. Thread-safe; blocks while it asks the issuer for its keys."""

    def __init__(self, settings: OidcSettings, issuer: Issuer) -> None:
        self._settings = settings
        self._issuer = issuer

    def claims(self, text: str) -> Mapping[str, Any] | None:
        """Return what a good token for the API says; None for any other.

        Raises StoreUnavailable without an issuer.
        """
        audience = self._settings.audience
        return None if audience is None else self._decoded(text, audience)

    def claims_of_id_token(self, text: str) -> Mapping[str, Any] | None:
        """Return what a good ID token for the page says; None for any other. Raises StoreUnavailable."""
        client = self._settings.client
        return None if client is None else self._decoded(text, client.id)

    def caller(self, store: TokenStore, claims: Mapping[str, Any]) -> Caller | None:
        """Return who comes with these claims: the first role that fits, of `project` all; None for nobody."""
        subject = "".join(sign if sign.isprintable() and sign != " " else "_" for sign in str(claims["sub"]))
        actor = f"oidc:{subject[:LONGEST_SUBJECT]}"
        fitting = [rule for rule in self._settings.rules if rule.fits(claims)]
        for rule in fitting:
            if rule.role != PROJECT:
                return Caller(actor, rule.role)
        projects = set()
        for rule in fitting:
            try:
                projects.add(store.get_project(str(rule.project)).id)
            except NotFound:
                logger.warning("llmproxy: option llm_oidc_roles: there is no project %r.", rule.project)
        return Caller(actor, PROJECT, frozenset(projects)) if projects else None

    def _decoded(self, text: str, audience: str) -> Mapping[str, Any] | None:
        import jwt  # noqa: PLC0415 - an extra

        try:
            found: Mapping[str, Any] = jwt.decode(
                text,
                self._issuer.keys().get_signing_key_from_jwt(text),
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=self._issuer.url,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise StoreUnavailable(f"the issuer {self._issuer.url} does not answer") from error
        except jwt.PyJWTError as error:
            logger.info("llmproxy: a token of %s is refused: %s", self._issuer.url, error)
            return None
        return found
