"""List what can go wrong with a call, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """Gives `rejectedLogEventsInfo` of an answer of 200; None is left out.

    The events named are not stored.
    """

    too_old_end: int | None = None
    """One past the last event that is too old."""
    expired_end: int | None = None
    """One past the last event that is older than the group's retention."""
    too_new_start: int | None = None
    """The first event too far ahead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Befalls one call. Without any field set the call is answered as usual."""

    name: str
    status: int = 0
    """Answer with this status in place of doing what was asked."""
    code: str = ""
    message: str = "as asked"
    retry_after: float | None = None
    html: bool = False
    """Answer as a load balancer does: not in JSON."""
    stored: bool = False
    """Do what was asked all the same: the caller can't know."""
    reset_mid_body: bool = False
    """Reset the connection when half of the request has been read."""
    cut: bool = False
    """Close the connection in place of an answer."""
    half_answer: bool = False
    """Reset the connection within the answer."""
    delay: float = 0.0
    """Seconds before the answer. It ends early when the caller hangs up."""
    delete: str = ""
    """`group` or `stream`: what is deleted just before the call is looked at."""
    reject: Rejection | None = None


THROTTLED = Fault("throttled", 400, "ThrottlingException", "Rate exceeded")
UNAVAILABLE = Fault("unavailable", 503, "ServiceUnavailableException")
SERVER_ERROR = Fault("server error", 500, "InternalFailure")
GATEWAY = Fault("gateway", 502, html=True)
RESET_MID_BODY = Fault("reset mid-body", reset_mid_body=True)
CUT_BEFORE = Fault("cut before it is taken", cut=True)
CUT_AFTER = Fault("cut after it was taken", cut=True, stored=True)
HALF_ANSWER = Fault("reset within the answer", half_answer=True, stored=True)
TIMEOUT_AFTER = Fault("taken, then no answer", cut=True, stored=True, delay=120)
STREAM_DELETED = Fault("stream deleted", delete="stream")
GROUP_DELETED = Fault("group deleted", delete="group")
EXPIRED = Fault(
    "expired", 400, "ExpiredTokenException", "The security token included in the request is expired"
)
ACCESS_DENIED = Fault(
    "access denied",
    400,
    "AccessDeniedException",
    "User: arn:aws:iam::123456789012:user/sender is not authorized to perform: logs:PutLogEvents on "
    "resource: arn:aws:logs:eu-central-1:123456789012:log-group:x because no identity-based policy allows "
    "the logs:PutLogEvents action",
)
MALFORMED = Fault("malformed", 400, "InvalidParameterException", "1 validation error detected")
ALREADY_ACCEPTED = Fault("already accepted", 400, "DataAlreadyAcceptedException", stored=True)

FAULTS = (
    THROTTLED,
    UNAVAILABLE,
    SERVER_ERROR,
    GATEWAY,
    RESET_MID_BODY,
    CUT_BEFORE,
    CUT_AFTER,
    HALF_ANSWER,
    STREAM_DELETED,
    GROUP_DELETED,
)
"""Those that an honest sender outlives by itself, at once, without losing an event. (`GROUP_DELETED` and
`STREAM_DELETED` lose what was stored before, as the service would.)"""
