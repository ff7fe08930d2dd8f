"""Play a CloudWatch Logs that refuses what the service refuses, and fails as it is told to.

Local stand-ins accept calls of too many events, too many bytes or more than a day, and can't be made to
throttle, cut or lie. This one holds every limit of the API reference that matters to a sender, keeps its
connections alive, and injects faults. It is used by the tests and by the measurements; never in production.
"""

from scripts.benchmarks.strict_cloudwatch.faults import (
    ACCESS_DENIED,
    ALREADY_ACCEPTED,
    CUT_AFTER,
    CUT_BEFORE,
    EXPIRED,
    FAULTS,
    GATEWAY,
    GROUP_DELETED,
    HALF_ANSWER,
    MALFORMED,
    RESET_MID_BODY,
    SERVER_ERROR,
    STREAM_DELETED,
    THROTTLED,
    TIMEOUT_AFTER,
    UNAVAILABLE,
    Fault,
    Rejection,
)
from scripts.benchmarks.strict_cloudwatch.rules import violation
from scripts.benchmarks.strict_cloudwatch.server import StrictCloudWatch
from scripts.benchmarks.strict_cloudwatch.state import Event, Logs, Put

__all__ = [
    "ACCESS_DENIED",
    "ALREADY_ACCEPTED",
    "CUT_AFTER",
    "CUT_BEFORE",
    "EXPIRED",
    "FAULTS",
    "GATEWAY",
    "GROUP_DELETED",
    "HALF_ANSWER",
    "MALFORMED",
    "RESET_MID_BODY",
    "SERVER_ERROR",
    "STREAM_DELETED",
    "THROTTLED",
    "TIMEOUT_AFTER",
    "UNAVAILABLE",
    "Event",
    "Fault",
    "Logs",
    "Put",
    "Rejection",
    "StrictCloudWatch",
    "violation",
]
