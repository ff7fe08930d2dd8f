"""Say why a backend did not take what it was sent: each text names the backend and the remedy, if any.

::

    DeliveryError
    ├── Unavailable     time may heal it: throttling, outages, time-outs
    ├── Misconfigured   a person must: credentials, rights, names
    └── Closed          nothing will: the other end of a pipe is gone
"""


class DeliveryError(Exception):
    """Nothing, or an unknown part, of the parcel was taken; it must be sent again."""


class Unavailable(DeliveryError):
    """The backend does not answer, or asks to wait."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the backend asks for; None where it does not say."""


class Misconfigured(DeliveryError):
    """The backend refuses us, and will until something is changed."""


class Closed(DeliveryError):
    """The backend has gone for good; the sink ends, whether or not it follows the spool."""
