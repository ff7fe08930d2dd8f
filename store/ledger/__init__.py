"""What is used of the limits, exact over any number of processes.

A call that has limits *claims* before it may pass: it takes a request of the rate, a place among the
concurrent calls, and holds the part of the budgets that it may come to use. When it is over it is *settled*:
what it did use is added to the spend, and what was held beyond that is free again. A budget's use is always
the sum of what was spent in its period and of what is held. Each period has rows of its own in the table
`spend`, so nothing is ever set back to zero.

::

    limits.py  (in store/)  what may be limited, and the periods
    claims.py               what goes in and out: Ask, Answer, Hit, Standing, Finished
    account.py              what a token or project has used of each limit
    book.py                 claims, decided within a transaction
    settle.py               calls that are over, within a transaction
    spares.py               what is kept for calls while the store is away
    clerk.py                the thread that owns the connection and puts into one transaction all that waits

    clerk.reserve(ask)      -> Future[Answer]; all or nothing. Raises StoreUnavailable where the store is away
    clerk.look(ask)         -> the same, but takes nothing
    clerk.extend(call_id, tokens, nano_usd)
                            -> Future[Hit | None]; hold so much in all for a call, if the budgets allow it
    clerk.ended(call_id)       its place among the concurrent calls is free; the rest waits for `finish`
    clerk.release(call_id)     the call never went upstream: as if it had not been reserved
    clerk.finish(finished, writer)
                               calls that are over and whose events are on disk; never raises, tried until the
                               store takes it. Each is counted once, however often it is handed in.
    clerk.close()              what waits is written, then the thread ends
"""

from store.ledger.claims import Answer, Ask, Finished, Hit, Room, Standing
from store.ledger.clerk import Clerk

__all__ = ["Answer", "Ask", "Clerk", "Finished", "Hit", "Room", "Standing"]
