"""Choose a look-up: a path is SQLite, a URL a server."""

from __future__ import annotations

from store.database.engines import engine_of
from store.database.location import Place, StoreLocation
from store.tokens.lookup import Lookup
from store.tokens.sqlite_lookup import TokenLookup


def lookup_of(place: Place, *, grace_seconds: float = 0.0) -> Lookup:
    """Open the look-up for a store. On a server, known tokens outlive it by `grace_seconds`."""
    location = StoreLocation.of(place)
    if location.path is not None:
        return TokenLookup(location)
    from store.tokens.server_lookup import ServerLookup  # noqa: PLC0415 - an extra

    return ServerLookup(engine_of(location), grace_seconds)
