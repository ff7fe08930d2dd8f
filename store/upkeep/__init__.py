"""Look after a store: check it, back it up, restore it, copy it to another engine.

::

    tables.py    what there is to copy
    transfer.py  all rows from one store to another
    backup.py    to a file, and from one
    check.py     what may be wrong with a store
"""
