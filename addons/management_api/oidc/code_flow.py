"""Lead a browser to the issuer and back: the authorization code flow of OpenID Connect Core 1.0, with PKCE.

What the issuer sends back counts only once, only in the browser that was sent there (`state`), only with what
the proxy alone knows (`verifier`), and only for the sign-in that was asked for (`nonce`).
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from addons.management_api import errors
from addons.management_api.oidc.issuer import ANSWER_SECONDS, Issuer
from addons.management_api.oidc.settings import OidcClient
from addons.management_api.oidc.verifier import Verifier
from store.core.errors import StoreUnavailable
from store.keys import key_references

logger = logging.getLogger(__name__)

CALLBACK = "oidc/callback"
"""It says where the issuer leads back to, below the page."""
LONGEST_SAID = 200
"""Characters of what an issuer says that go into the log."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Remembers a sign-in from the way to the issuer until the way back."""

    state: str
    nonce: str
    verifier: str
    page: str
    """URL of the page."""
    view: str
    """It says what was asked for on the page."""

    @property
    def redirect_uri(self) -> str:
        return self.page + CALLBACK


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Says who came back."""

    id_token: str
    claims: Mapping[str, Any]


class CodeFlow:
    """Signs people in. Thread-safe; methods block."""

    def __init__(self, issuer: Issuer, client: OidcClient, verifier: Verifier) -> None:
        self.issuer = issuer
        self._client = client
        self._verifier = verifier

    def begin(self, page: str, view: str) -> tuple[str, Pending]:
        """Give the URL at the issuer, and what to remember. Raises StoreUnavailable."""
        place = self.issuer.places().authorization
        if place is None:
            raise StoreUnavailable(f"the issuer {self.issuer.url} does not say where people sign in")
        pending = Pending(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            page=page,
            view=view,
        )
        session = self._session(None)
        url, _ = session.create_authorization_url(
            place,
            *(pending.state, pending.verifier),
            redirect_uri=pending.redirect_uri,
            nonce=pending.nonce,
        )
        return str(url), pending

    def finish(self, pending: Pending, given: Mapping[str, str]) -> SignedIn:
        """Judge what the issuer's answer in the URL says, and fetch the ID token for it.

        Raises ApiError, and StoreUnavailable where the issuer or the client's secret is away.
        """
        places = self.issuer.places()
        if not hmac.compare_digest(given.get("state", "").encode(), pending.state.encode()):
            raise errors.sign_in_failed()
        # Else the code of another issuer would be shown to this one (RFC 9207, RFC 9700 section 4.4).
        if given.get("iss", "" if places.names_itself else self.issuer.url) != self.issuer.url:
            raise errors.sign_in_failed()
        if "error" in given:
            logger.info("llmproxy: the issuer %s says %r.", self.issuer.url, given["error"][:LONGEST_SAID])
            raise errors.sign_in_refused()
        if not given.get("code") or places.token is None:
            raise errors.sign_in_failed()
        answer = self._exchange(places.token, pending, given["code"])
        text = answer.get("id_token")
        claims = self._verifier.claims_of_id_token(text) if isinstance(text, str) else None
        if not isinstance(text, str) or claims is None or not self._is_for(pending, text, claims, answer):
            raise errors.sign_in_failed()
        if claims["exp"] <= time.time():
            raise errors.sign_in_failed()
        return SignedIn(text, claims)

    def sign_out_url(self, id_token: str, page: str) -> str | None:
        """Give where the issuer ends its own session (RP-Initiated Logout 1.0), if it says where.

        Raises StoreUnavailable.
        """
        place = self.issuer.places().end_session
        if place is None:
            return None
        given = {"id_token_hint": id_token, "client_id": self._client.id, "post_logout_redirect_uri": page}
        return f"{place}{'&' if '?' in place else '?'}{urlencode(given)}"

    def _exchange(self, place: str, pending: Pending, code: str) -> Mapping[str, Any]:
        """Give the code for tokens. Raises ApiError and StoreUnavailable."""
        from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 - an extra
        from requests import RequestException  # noqa: PLC0415

        reference = self._client.secret
        secret = None if reference is None else key_references.read_text(reference)
        try:
            with self._session(secret) as session:
                found = session.fetch_token(
                    place,
                    grant_type="authorization_code",
                    code=code,
                    redirect_uri=pending.redirect_uri,
                    code_verifier=pending.verifier,
                    allow_redirects=False,
                    timeout=ANSWER_SECONDS,
                )
        except OAuthError as error:
            logger.warning(
                "llmproxy: the issuer %s takes no code: %s", self.issuer.url, str(error)[:LONGEST_SAID]
            )
            raise errors.sign_in_failed() from error
        except (RequestException, ValueError) as error:
            logger.warning("llmproxy: the issuer %s: %s", self.issuer.url, type(error).__name__)
            raise StoreUnavailable(f"the issuer {self.issuer.url} does not answer") from error
        return dict(found)

    def _session(self, secret: str | None) -> Any:
        from authlib.integrations.requests_client import OAuth2Session  # noqa: PLC0415 - an extra

        method = "none"
        if secret is not None:
            method = "client_secret_basic" if self.issuer.places().takes_basic else "client_secret_post"
        return OAuth2Session(
            *(self._client.id, secret),
            token_endpoint_auth_method=method,
            scope=self._client.scopes,
            code_challenge_method="S256",
        )

    def _is_for(
        self, pending: Pending, text: str, claims: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> bool:
        """Tell whether an ID token is for this sign-in: `nonce`, `azp`, `at_hash` (Core 1.0, 3.1.3.7)."""
        import jwt  # noqa: PLC0415 - an extra
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415

        asked = {"nonce": pending.nonce, "client_id": self._client.id}
        token = CodeIDToken(
            dict(claims),
            jwt.get_unverified_header(text),
            params=asked | {"access_token": answer.get("access_token")},
        )
        try:
            token.validate_nonce()
            token.validate_azp()
            token.validate_at_hash()
        except Exception as error:  # Authlib's versions raise errors of two families: none lets anyone in
            logger.warning("llmproxy: an ID token of %s is refused: %s", self.issuer.url, error)
            return False
        return True
