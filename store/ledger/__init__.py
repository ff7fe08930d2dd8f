"""Count what is used of the limits, exactly over any number of processes.

A call that has limits *claims* before it may pass: it takes a request of the rate, a place among the
concurrent calls, and holds the part of the budgets that it may come to use. When it is over it is *settled*:
what it did use is added to the spend, and what was held beyond that is free again. A budget's use is always
the sum of what was spent in its period and of what is held. Each period has rows of its own in the table
`spend`, so nothing is ever set back to zero.

::

    messages.py        what goes in and out: ReservationRequest, ReservationDecision, LimitExceeded, Finished
    account.py         what a token or project has used of each limit
    reservations.py    reservations, decided within a transaction
    settle.py          calls that are over, within a transaction
    offline_credit.py  what is kept for calls while the store is away
    worker.py          the thread that owns the connection and puts all that waits into one transaction

    worker.reserve(request)     -> Future[ReservationDecision]; all or nothing. Raises StoreUnavailable
    worker.look(request)        -> the same, but takes nothing
    worker.extend(call_id, tokens, nano_usd)
                                -> Future[LimitExceeded | None]; hold so much in all, if the budgets allow it
    worker.ended(call_id)          its place among the concurrent calls is free; the rest waits for `finish`
    worker.release(call_id)        the call never went upstream: as if it had not been reserved
    worker.finish(finished, writer)
                                   calls that are over and whose events are on disk; never raises, tried until
                                   the store takes it. Each is counted once, however often it is handed in.
    worker.close()                 what waits is written, then the thread ends
"""

from store.ledger.messages import (
    Finished,
    LimitExceeded,
    RateStatus,
    RateWindow,
    ReservationDecision,
    ReservationRequest,
)
from store.ledger.worker import LedgerWorker

__all__ = [
    "Finished",
    "LedgerWorker",
    "LimitExceeded",
    "RateStatus",
    "RateWindow",
    "ReservationDecision",
    "ReservationRequest",
]
