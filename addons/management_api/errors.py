"""Every error of the management API: a status, a code and a message, in OpenAI's form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from store.errors import Conflict, Invalid, KeyUnavailable, NotFound, StoreError, StoreUnavailable

BY_ERROR: tuple[tuple[type[StoreError], int, str], ...] = (
    (Invalid, 400, "invalid_value"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (KeyUnavailable, 503, "key_unavailable"),
    (StoreUnavailable, 503, "store_unavailable"),
    (StoreError, 500, "store_error"),
)


class ApiError(Exception):
    """What is answered in place of what was asked for. `param` names the field at fault."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    @classmethod
    def of(cls, error: StoreError) -> ApiError:
        """The answer to an error of the store."""
        status, code = next((status, code) for kind, status, code in BY_ERROR if isinstance(error, kind))
        return cls(status, code, str(error))

    def as_dict(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Kind:
    """An error that is always the same. (Not itself raised: an exception keeps where that was.)"""

    status: int
    code: str
    message: str

    def __call__(self) -> ApiError:
        return ApiError(self.status, self.code, self.message)


off = Kind(403, "management_api_off", "The management API is off; LLMPROXY_MANAGEMENT_TOKEN turns it on.")
unauthorised = Kind(
    401, "invalid_management_token", "Send the management token as 'Authorization: Bearer TOKEN'."
)
no_such_route = Kind(404, "not_found", "There is no such route; docs/management.md lists them.")
too_large = Kind(413, "body_too_large", "The body has more than 65536 bytes.")
unreadable = Kind(400, "invalid_request", "The request could not be read.")
internal = Kind(500, "internal_error", "Something failed; the proxy's log says what.")
busy = Kind(503, "store_unavailable", "Too many requests wait for the store; try again.")
