"""Define checks: each asks for one thing that may stand against a call, in its place of a list.

A check looks at one call and returns the refusal that the client gets, or None. It may also prepare the
call: find its token, direct it to its upstream, write a limit into its body.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol

from addons.caching.answers import AnswerCache
from addons.checks.history import History
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.network.circuit_breaker import CircuitBreaker
from store.core.errors import KeyUnavailable, StoreUnavailable
from store.keys.ephemeral_keys import EphemeralKeyMaker
from store.keys.key_cache import KeyCache
from store.ledger import ReservationDecision, ReservationRequest
from store.objects.table import Owner
from store.tokens.lookup import Lookup
from store.tokens.models import Grant

if TYPE_CHECKING:
    from addons.settings.options import Settings


class Phase(Enum):
    """Name the moment at which a check is made."""

    HEADERS = "headers"
    """Before the body is read: what is refused here costs no upload."""
    BODY = "body"
    """Once the body is there, and before upstream is dialled."""


class Check(ABC):
    """Asks for one thing that may stand against a call."""

    phase: ClassVar[Phase]

    @abstractmethod
    async def check(self, call: Call) -> Refusal | None:
        """Refuse the call, or let it pass to the next check.

        Raises StoreUnavailable or KeyUnavailable where it cannot be told; any other exception refuses, too.
        """


class Ledger(Protocol):
    """Reserve calls: the ledger's worker, or a dry one."""

    def reserve(self, ask: ReservationRequest) -> Future[ReservationDecision]: ...

    def look(self, ask: ReservationRequest) -> Future[ReservationDecision]: ...

    def release(self, call_id: str) -> None: ...


class Owners(Protocol):
    """Look up the owners of the API's objects."""

    @property
    def busy(self) -> bool: ...

    def known(self, id_: str) -> Owner | None: ...

    def ask(self, ids: Iterable[str]) -> Future[dict[str, Owner]]: ...


class Recording(Protocol):
    """Shows the state of the record of calls."""

    healthy: bool

    @property
    def refuses_calls(self) -> bool: ...


class CheckServices(Protocol):
    """Names the services that the checks of any call need; a dry run has its own."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def objects(self) -> Owners: ...

    @property
    def history(self) -> History: ...


class LiveServices(CheckServices, Protocol):
    """Names the services that only a running proxy has."""

    @property
    def worker(self) -> Recording: ...

    @property
    def lookup(self) -> Lookup: ...

    @property
    def keys(self) -> KeyCache: ...

    @property
    def cache(self) -> AnswerCache | None: ...

    @property
    def mint(self) -> EphemeralKeyMaker: ...


class Circumstances(Protocol):
    """Hold the options in force, and what is open."""

    @property
    def settings(self) -> Settings: ...

    @property
    def services(self) -> CheckServices | None: ...


class LiveCircumstances(Protocol):
    """Hold what a check of a running proxy needs beside the circumstances of all."""

    @property
    def breaker(self) -> CircuitBreaker: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def services(self) -> LiveServices | None: ...


def services_of(here: Circumstances) -> CheckServices:
    """Return what is open. Raises StoreUnavailable where nothing is: the proxy is about to end."""
    if here.services is None:
        raise StoreUnavailable("the proxy is not open")
    return here.services


def live_services_of(here: LiveCircumstances) -> LiveServices:
    """Return what a running proxy has open. Raises StoreUnavailable."""
    if here.services is None:
        raise StoreUnavailable("the proxy is not open")
    return here.services


def grant_of(call: Call) -> Grant:
    """Give the grant of the call's token; the checks behind the authentication can rely on it."""
    assert call.grant is not None, "checked before its token was found"
    return call.grant


async def first_refusal(checks: Sequence[Check], phase: Phase, call: Call) -> Refusal | None:
    """Ask the checks of a phase in their order, until one refuses, or answers the call."""
    try:
        for each in checks:
            if each.phase is phase and (why_not := await each.check(call)) is not None:
                return why_not
            if call.flow.response is not None:
                return None  # it is answered: from the cache
    except StoreUnavailable:
        return errors.STORE_UNAVAILABLE
    except KeyUnavailable:
        return errors.KEY_UNAVAILABLE
    return None
