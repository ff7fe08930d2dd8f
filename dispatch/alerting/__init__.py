"""Find what somebody has to be told of, and write it into the spool, from which sinks send it.

::

    conditions.py   what is wrong with proxies and dispatchers, and who spends faster than the week before
    sending.py      past the spool: a test, or what the disk cannot hold
    watch.py        the thread of a dispatcher that looks every few seconds
"""
