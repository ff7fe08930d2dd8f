"""Look after a store: check it, back it up, restore it, copy it to another engine.

::

    transfer.py  all rows from one store to another
    backup.py    to a file, and from one
    check.py     what may be wrong with a store
    incidents.py what is wrong right now
    overview.py  what proxies and dispatchers say of themselves
"""
