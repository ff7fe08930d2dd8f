"""The limits of a token and of its project, as the gate applies them. The stricter of the two holds.

::

    access.py       who may call what, from where: networks, endpoints, models
    output.py       how long an answer may be
    reservation.py  what a call holds of the budgets and rates before it goes upstream
    history.py      what such calls have used, for budgets in the mode `expected`
    refusals.py     what a client is told
    running.py      streams that go beyond what they hold

What is used of the limits is kept in :mod:`store.ledger`.
"""
