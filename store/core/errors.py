"""Name what can go wrong in the store and the spool: the thing, the value and the remedy.

::

    StoreError
    ├── StoreUnavailable   the database is gone, locked or unreadable; trying again may help
    ├── NotFound           no such project or token
    ├── KeyUnavailable     a project's key, or the master key, cannot be had
    ├── DamagedRow         one row of the store cannot be read; the others can
    ├── Conflict           it exists already, or its state does not allow this
    └── Invalid            a value that the store does not take
    SpoolError             there is no spool, or a name is not allowed
    └── SpoolBusy          another process holds this consumer's cursor
"""


class StoreError(Exception):
    """Is the base of what the token store raises."""


class StoreUnavailable(StoreError):
    """The database cannot be read or written at present."""


class NotFound(StoreError):
    """Says that there is no such project or token."""


class KeyUnavailable(StoreError):
    """The key of a project cannot be had at present, or the master key is missing or wrong."""


class DamagedRow(StoreError):
    """A row holds what this program has not written; every other row can be used."""


class Conflict(StoreError):
    """The name is taken, or the state of the row does not allow the change."""


class Invalid(StoreError):
    """Says that the store does not take a value."""


class SpoolError(Exception):
    """The spool cannot be read by this consumer."""


class SpoolBusy(SpoolError):
    """Another process is at work as this consumer; it may end."""
