"""What the addons share: the parsed options, the store, the ledger and the worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from addons import declared, mitm, options, seal, wire
from addons.accounts import Accounts
from addons.calls import Call, open_calls
from addons.closing import Closing
from addons.cost import cost_of
from addons.policy.history import History
from addons.refusal import Refusal
from addons.reporter import Reporter
from addons.settling import Settling
from addons.worker import Worker
from store.audit.heads import HeadTeller
from store.audit.refusals import Refusals
from store.bus import BadBus, Forwarder, Link
from store.engine import engine_of
from store.errors import StoreError
from store.key_cache import KeyCache
from store.ledger import Clerk
from store.location import StoreLocation
from store.lookup import Lookup, lookup_of
from store.minted import Mint
from store.models import Project
from store.object_clerk import ObjectClerk
from store.spool import Journal, open_spool
from store.spool.rolled import RolledMark
from store.status import StatusFile
from store.tokens import TokenStore

logger = logging.getLogger(__name__)

AUTHORITY = "mitmproxy-ca-cert.pem"
"""The certificate authority that clients must trust, in mitmproxy's `confdir`."""
FIXED_AT_START = {"llm_store", "llm_store_grace", "llm_spool", "llm_bus", "llm_management"}


@dataclass(slots=True)
class Services:
    """What is open while the proxy serves."""

    lookup: Lookup
    keys: KeyCache
    objects: ObjectClerk
    clerk: Clerk
    history: History
    settling: Settling
    closing: Closing
    worker: Worker
    journal: Journal
    reporter: Reporter
    forwarder: Forwarder | None
    mint: Mint
    refusals: Refusals
    heads: HeadTeller


class Runtime:
    """First of the addons: owns the options and everything that has to be opened and closed."""

    name = "llmproxy-runtime"

    settings: options.Settings
    services: Services | None = None
    """None before the start and after the end; the gate then refuses."""
    refused: bool = False
    """Whether the start failed."""

    def load(self, loader: Loader) -> None:
        seal.install()  # before anything that can fail
        mitm.on_request_headers_sent(wire.with_key)
        mitm.allow_end_of_answers()
        try:
            declared.declare(loader)
            options.refuse_vulnerable_mitmweb(type(ctx.master).__name__)
        except exceptions.OptionsError as error:
            self._refuse_start(error)
        # Eager, the default, would dial upstream before the token is known.
        ctx.options.update(connection_strategy="lazy")

    def configure(self, updated: set[str]) -> None:
        if self.refused:
            return
        if self.services is None:
            try:
                self.settings = options.parse(ctx.options)
                self.services = self._open()
            except exceptions.OptionsError as error:
                self._refuse_start(error)
                return
        elif "connection_strategy" in updated and ctx.options.connection_strategy != "lazy":
            raise exceptions.OptionsError("llmproxy: option connection_strategy must stay lazy.")
        elif fixed := FIXED_AT_START & updated:
            raise exceptions.OptionsError(
                f"llmproxy: option {min(fixed)} cannot change while the proxy runs; restart it."
            )
        else:
            self.settings = options.parse(ctx.options)
        self.services.worker.capture = self.settings.capture
        self.services.worker.prices = self.settings.prices
        self.services.worker.pressure.limit = self.settings.spool_limit
        self.services.worker.pressure.policy = self.settings.spool_full

    def running(self) -> None:
        for name in declared.unknown(ctx.options):
            self._refuse_start(
                exceptions.OptionsError(
                    f"llmproxy: there is no option {name}; see `mitmdump -s addons/llmproxy.py --options`."
                )
            )

    def figures(self) -> dict[str, Any]:
        """What this process has done and is doing, for health and metrics."""
        assert self.services is not None
        return self._figures(self.services.worker, self.services.refusals)

    def _figures(self, worker: Worker, refusals: Refusals) -> dict[str, Any]:
        return {
            "healthy": worker.healthy,
            "open_calls": len(open_calls),
            "queue_length": worker.queue_length,
            "recorded": worker.recorded,
            "uncounted": worker.uncounted,
            "dropped": worker.pressure.dropped,
            "audit_waiting": refusals.waiting,
            **worker.counters.snapshot(),
            "options": options.shown(self.settings),
            "listeners": mitm.listeners(),
            "authority": str(Path(ctx.options.confdir).expanduser().resolve() / AUTHORITY),
        }

    def close(self) -> None:
        """Write what is queued and let go of store and spool. Called by the last addon's ``done``."""
        if self.services is None:
            return
        services, self.services = self.services, None
        services.heads.close()
        services.closing.close()
        services.worker.close()
        services.clerk.close()
        services.settling.close()
        if services.forwarder is not None:
            services.forwarder.close()
        services.reporter.close()
        services.objects.close()
        services.lookup.close()
        services.keys.close()
        services.refusals.close()

    def note_refused(self, call: Call, why_not: Refusal) -> None:
        """A refused authentication is on its way into the audit log; never blocks, and ignores all others."""
        if self.services is None or why_not.audited is None:
            return
        token = call.grant.token if call.grant else None
        self.services.refusals.note(
            why_not.audited,
            call.client_address,
            project_id=None if token is None else token.project_id,
            token_id=None if token is None else token.id,
        )

    def _refuse_start(self, error: Exception) -> None:
        """One line for the user. An error that is logged during the start makes mitmproxy exit with 1.

        (Raised from here, it would be shown with a traceback, and the proxy would start without us.)
        """
        self.refused = True
        logger.error("%s", error)
        mitm.end_plainly_after_a_refused_start()

    def _open(self) -> Services:
        store, spool, link = self.settings.store, self.settings.spool, self._link()
        created = not store.exists()
        try:
            tokens = TokenStore.open(store)
            plain = tokens.keys.check()
            lookup = lookup_of(store, grace_seconds=self.settings.store_grace)
            objects = ObjectClerk(store)
        except (StoreError, OSError) as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_store: {error}") from error
        if created:
            logger.warning(
                "llmproxy: made an empty token store at %s; create a project and a token in it.", store
            )
        if plain:
            logger.warning(
                "llmproxy: %s holds %d keys in plain text; `llmproxy keys encrypt` ends that.", store, plain
            )
        keys = _keys(store, tokens.list_projects())
        tokens.close()
        try:
            writer, journal = open_spool(spool)
            mark = RolledMark(spool, writer.writer)
            status = StatusFile(spool, writer.writer)
        except OSError as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_spool: {spool}: {error.strerror}") from error
        engine = engine_of(store)
        # A file that is away cannot be asked for tokens either.
        grace = 0 if store.path else self.settings.store_grace
        clerk = Clerk(engine, grace_seconds=grace)
        history = History()
        threading.Thread(target=history.seed, args=[engine], name="llmproxy-history", daemon=True).start()
        settling = Settling(clerk, mark, writer.writer, history)
        closing = Closing(spool, self.settings.prices, engine, clerk, settling)
        worker = Worker(writer, settling)
        worker.accounts = Accounts(objects)
        clerk.on_reached = worker.put_marks
        refusals = Refusals(engine)
        reporter = Reporter(status, worker.writer, lambda: self._figures(worker, refusals))
        forwarder = (
            Forwarder(spool, link, price=partial(cost_of, prices=self.settings.prices))
            if link is not None
            else None
        )
        return Services(
            *(lookup, keys, objects, clerk, history, settling, closing),
            *(worker, journal, reporter, forwarder, Mint(store)),
            *(refusals, HeadTeller(engine, worker.put_marks)),
        )

    def _link(self) -> Link | None:
        if self.settings.bus is None:
            return None
        try:
            return Link(self.settings.bus)
        except BadBus as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_bus: {error}") from error


def _keys(store: StoreLocation, projects: Sequence[Project]) -> KeyCache:
    """The keys that are kept elsewhere are asked for now, so that the first calls find them."""
    keys = KeyCache(store)
    for project in projects:
        if project.active and project.key.is_reference:
            keys.get(project)
    return keys
