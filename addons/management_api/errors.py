"""Define every error of the management API: status, code and message, as OpenAI and RFC 9457 write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from store.core.errors import Conflict, Invalid, KeyUnavailable, NotFound, StoreError, StoreUnavailable

RETRY_SECONDS = 5
"""After which to try again what a store that is away can't answer."""

BY_ERROR: tuple[tuple[type[StoreError], int, str], ...] = (
    (Invalid, 400, "invalid_value"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (KeyUnavailable, 503, "key_unavailable"),
    (StoreUnavailable, 503, "store_unavailable"),
    (StoreError, 500, "store_error"),
)


class ApiError(Exception):
    """Says what is answered in place of what was asked for. `param` names the field at fault."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    @classmethod
    def of(cls, error: StoreError) -> ApiError:
        """Give the answer to an error of the store."""
        status, code = next((status, code) for kind, status, code in BY_ERROR if isinstance(error, kind))
        return cls(status, code, str(error))

    def as_dict(self) -> dict[str, Any]:
        """Give the error in OpenAI's form, and beside it in that of RFC 9457."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
            "type": f"urn:llmproxy:management:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.message,
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """Describes an error that is always the same. (Not itself raised: an exception keeps where that was.)"""

    status: int
    code: str
    message: str

    def __call__(self) -> ApiError:
        return ApiError(self.status, self.code, self.message)


off = Kind(403, "management_api_off", "The management API is off; LLMPROXY_MANAGEMENT_TOKEN turns it on.")
forbidden = Kind(403, "role_not_allowed", "This management token's role does not allow that.")
not_the_page = Kind(
    403,
    "not_the_page",
    "Sessions are for this port's own page; a server before it has to keep the header Host.",
)
too_many = Kind(
    429, "too_many_attempts", "Too many log-ins from this address have failed; try again in a minute."
)
unauthorised = Kind(
    401, "invalid_management_token", "Send the management token as 'Authorization: Bearer TOKEN'."
)
sign_in_off = Kind(404, "sign_in_off", "There is no sign-in at an issuer; llm_oidc_client_id turns it on.")
sign_in_ended = Kind(400, "sign_in_ended", "This sign-in is not known, or has ended; begin again.")
sign_in_refused = Kind(403, "sign_in_refused", "The issuer has not signed you in.")
sign_in_failed = Kind(401, "sign_in_failed", "What the issuer said does not hold; begin again.")
no_role = Kind(403, "no_role", "You are known, and have no role here; option llm_oidc_roles gives them.")
no_session = Kind(401, "no_session", "There is no session, or it has ended; sign in.")
no_such_route = Kind(404, "not_found", "There is no such route; docs/management.md lists them.")
too_large = Kind(413, "body_too_large", "The body has more than 65536 bytes.")
unreadable = Kind(400, "invalid_request", "The request could not be read.")
internal = Kind(500, "internal_error", "Something failed; the proxy's log says what.")
busy = Kind(503, "store_unavailable", "Too many requests wait for the store; try again.")
