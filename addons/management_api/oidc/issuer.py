"""Find an issuer's places and keys (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from addons.management_api.oidc.settings import check_issuer
from store.core.errors import Invalid, StoreUnavailable

if TYPE_CHECKING:
    from jwt import PyJWKClient

logger = logging.getLogger(__name__)

KEYS_SECONDS = 300
"""It says how long the issuer's keys are kept."""
COOLDOWN_SECONDS = 30.0
"""Between two questions for a key that is not among them: a new one holds so much later."""
RETRY_SECONDS = 30.0
"""Between two attempts to find an issuer that does not answer."""
ANSWER_SECONDS = 5.0
LONGEST_ANSWER = 2**20


@dataclass(frozen=True, slots=True)
class Places:
    """Holds what of an issuer's configuration is needed."""

    keys: str
    authorization: str | None
    token: str | None
    end_session: str | None
    """It says where people sign out of the issuer, too."""
    takes_basic: bool
    """It tells whether a client may show its secret in the header ``Authorization``."""
    names_itself: bool
    """It tells whether each answer to a browser says whose it is (RFC 9207)."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Places:
        """Read a configuration. Raises ValueError."""
        methods = found.get("token_endpoint_auth_methods_supported")
        keys = _place(found, "jwks_uri")
        if keys is None:
            raise ValueError("its configuration has no jwks_uri")
        return cls(
            keys=keys,
            authorization=_place(found, "authorization_endpoint"),
            token=_place(found, "token_endpoint"),
            end_session=_place(found, "end_session_endpoint"),
            takes_basic=not isinstance(methods, list) or "client_secret_basic" in methods,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )


class Issuer:
    """Is asked for its places once, and for its keys when needed. Thread-safe; methods block."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._places: Places | None = None
        self._keys: PyJWKClient | None = None
        self._failed_at: float | None = None

    def places(self) -> Places:
        """Give where things are. Raises StoreUnavailable."""
        with self._lock:
            if self._places is None:
                if self._failed_at is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
                    raise StoreUnavailable(f"the issuer {self.url} does not answer")
                try:
                    self._places = Places.of(self._configuration())
                except (OSError, ValueError) as error:
                    self._failed_at = time.monotonic()
                    logger.warning("llmproxy: option llm_oidc_issuer: %s: %s", self.url, error)
                    raise StoreUnavailable(
                        f"the issuer {self.url} does not say where its keys are"
                    ) from error
            return self._places

    def keys(self) -> PyJWKClient:
        """Give what finds its keys. Raises StoreUnavailable."""
        from jwt import PyJWKClient  # noqa: PLC0415 - an extra

        place = self.places().keys
        with self._lock:
            if self._keys is None:
                self._keys = PyJWKClient(
                    place, lifespan=KEYS_SECONDS, timeout=ANSWER_SECONDS, cooldown_duration=COOLDOWN_SECONDS
                )
            return self._keys

    def _configuration(self) -> Mapping[str, Any]:
        """Read its configuration. Raises OSError and ValueError."""
        url = f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        context = ssl.create_default_context()
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=context) as answer:  # noqa: S310 - checked
            found = json.loads(answer.read(LONGEST_ANSWER))
        if not isinstance(found, dict) or found.get("issuer") != self.url:
            raise ValueError("its configuration names another issuer")
        return found


def _place(found: Mapping[str, Any], name: str) -> str | None:
    """Give a URL that nobody on the way can play. Raises ValueError."""
    if found.get(name) is None:
        return None
    place = str(found.get(name))
    try:
        check_issuer(place)
    except Invalid as error:
        raise ValueError(f"{name}: {error}") from error
    return place
