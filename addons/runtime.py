"""Open and close what the addons share: the parsed options, the store, the ledger and the worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from addons.caching.answers import AnswerCache, figures_of, open_cache
from addons.checks.history import History
from addons.flow import final_guard, key_injection
from addons.flow.call import Call, open_calls
from addons.flow.errors import Refusal
from addons.flow.helper_process import helper
from addons.flow.network.circuit_breaker import CircuitBreaker
from addons.mitm import connections as mitm_connections
from addons.mitm import dialing as mitm_dialing
from addons.mitm import hook_dispatch, log_records, relay, turns
from addons.mitm import internals as mitm
from addons.mitm import listening as mitm_listening
from addons.mitm.trim import check_no_types, collect_rarely, trim
from addons.openai.pricing.prices import Prices
from addons.recording.cost import cost_of
from addons.recording.group import told_times
from addons.recording.price_watch import PriceWatch
from addons.recording.reading.readers import reader_of
from addons.recording.recovery import Recovery
from addons.recording.reporter import Reporter
from addons.recording.settling import Settling
from addons.recording.shared_usage import SharedUsage
from addons.recording.worker import Worker
from addons.services import Services
from addons.settings import options, unsafe
from store.audit.heads import AuditHeadReporter
from store.audit.refusals import AuthFailures
from store.bus import BadBus, Forwarder, Link
from store.core.errors import NotFound, StoreError
from store.core.event import Cost, Usage, UsageEvent
from store.core.printable import clean_log_records
from store.core.times import rfc3339
from store.database.engine import Engine
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.keys.ephemeral_keys import EphemeralKeyMaker
from store.keys.key_cache import KeyCache
from store.ledger import LedgerWorker
from store.objects.worker import ObjectWorker
from store.spool import open_spool
from store.spool.status_files import StatusFile
from store.spool.usage_checkpoint import UsageCheckpoint
from store.tokens import rows
from store.tokens.lookup import Lookup
from store.tokens.lookups import lookup_of
from store.tokens.models import Project
from store.tokens.store import TokenStore
from store.upkeep.fleet import FleetReporter

logger = logging.getLogger(__name__)

API_HOST, API_MODEL = "api.openai.com", "gpt-4o-mini"
"""It is that of the call that is priced before the first."""
LOOK_SECONDS = 1.0
"""Between two looks at the store while nobody calls."""
GATHER_SECONDS = 0.005
"""It says how long a finished call waits for others that are recorded with it: one write, one fdatasync."""
AUTHORITY = "mitmproxy-ca-cert.pem"
"""The certificate authority that clients must trust, in mitmproxy's `confdir`."""
FIXED_AT_START = {
    "llm_store",
    "llm_store_create",
    "llm_store_grace",
    "llm_spool",
    "llm_bus",
    "llm_recent_calls",
    "llm_recent_calls_days",
    "llm_management",
    "llm_management_keys",
    "llm_oidc_issuer",
    "llm_oidc_audience",
    "llm_oidc_roles",
    "llm_oidc_client_id",
    "llm_oidc_client_secret",
    "llm_oidc_scopes",
    "llm_trim",
    "llm_cache",
    "llm_workers",
}


class Runtime:
    """Stands first of the addons: owns the options and everything that has to be opened and closed."""

    name = "llmproxy-runtime"

    settings: options.Settings
    services: Services | None = None
    """None before the start and after the end; the gate then refuses."""
    refused: bool = False
    """It tells whether the start failed."""
    _watch: asyncio.Task[None] | None = None
    listed: Prices | None = None
    """The newest price list of the store."""

    def __init__(self) -> None:
        self._prices_lock = threading.Lock()
        self.breaker = CircuitBreaker()

    def load(self, loader: Loader) -> None:
        final_guard.install()  # before anything that can fail
        clean_log_records()
        mitm.on_request_headers_sent(key_injection.outgoing_head)
        mitm.allow_end_of_answers()
        mitm_dialing.tunnel_through_proxies()
        mitm_connections.answer_before_the_body()
        mitm_connections.forget_closed_connections()
        mitm.drop_trailers()
        mitm.end_crashed_connections()
        try:
            options.declare(loader)
            unsafe.refuse_vulnerable_mitmweb(type(ctx.master).__name__)
        except exceptions.OptionsError as error:
            self._refuse_start(error)
        mitm_listening.prefer_loopback()
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
            if self.services.cache is not None:
                self.services.cache.use_settings(self.settings.cache)
        self.services.worker.capture = self.settings.capture
        self.services.worker.gather_seconds = 0.0 if self.settings.durability == "call" else GATHER_SECONDS
        self._use_prices()
        if not self.services.price_watch.started:
            self.services.price_watch.start()
        self.services.worker.pressure.limit = self.settings.spool_limit
        self.services.worker.pressure.policy = self.settings.spool_full

    def take_price_list(self, listed: Prices) -> None:
        """Price all that follows by a newer list; called by the thread that watches the store for it."""
        self.listed = listed
        self._use_prices()

    def _warm_up(self, engine: Engine) -> None:
        """Read the prices now where this process prices calls: the first would wait for them, some 300 ms."""
        rows.warm_up()
        if self.settings.workers.apart:
            try:
                with contextlib.closing(engine.connect()) as connection:
                    if not rows.counts_dollars(connection):
                        return
            except StoreError:
                return
        usage = Usage(input_tokens=1, output_tokens=1, total_tokens=2)
        now = rfc3339(datetime.now(UTC))
        self.cost_of(UsageEvent(timestamp=now, host=API_HOST, model=API_MODEL, usage=usage))

    def cost_of(self, event: UsageEvent) -> Cost | None:
        """Price an event by what is in force now."""
        return cost_of(event, self.settings.prices)

    def _use_prices(self) -> None:
        """Have every part price by the operator's file and the store's list, whichever of them changed."""
        with self._prices_lock:
            if self.listed is not None:
                self.settings = replace(self.settings, prices=self.settings.prices.with_list(self.listed))
            if self.services is not None:
                self.services.worker.prices = self.settings.prices

    def running(self) -> None:
        for name in options.unknown(ctx.options):
            self._refuse_start(
                exceptions.OptionsError(
                    f"llmproxy: there is no option {name}; see `mitmdump -s addons/llmproxy.py --options`."
                )
            )
        if self.settings.trim:
            trim(ctx.master)
            hook_dispatch.install(ctx.master.addons)
            log_records.install(ctx.master.addons)
            collect_rarely()
            relay.install()
            turns.install()
            check_no_types()

        if not self.refused and self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._look_at_store())

    async def _look_at_store(self) -> None:
        """Notice a store that goes away also while nobody calls: the log and the status then say so."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.services is not None:
                with contextlib.suppress(StoreError):
                    self.services.lookup.ready()

    def figures(self) -> dict[str, Any]:
        """Give what this process has done and is doing, for health and metrics."""
        assert self.services is not None
        services = self.services
        return self._figures(services.worker, services.refusals, services.lookup, services.cache)

    def _figures(
        self, worker: Worker, refusals: AuthFailures, lookup: Lookup, cache: AnswerCache | None
    ) -> dict[str, Any]:
        return {
            **figures_of(cache),
            **self.breaker.figures(),
            "store_trouble": lookup.trouble,
            "healthy": worker.healthy and (worker.accounts is None or worker.accounts.decides),
            "open_calls": len(open_calls),
            "queue_length": worker.queue_length,
            "recorded": worker.recorded,
            "uncounted": worker.uncounted,
            "dropped": worker.pressure.dropped,
            "audit_waiting": refusals.waiting,
            **told_times(worker.counters.times),
            "worker_pids": list(worker.reading.pids),
            "worker_processes": len(worker.reading.pids),
            "worker_restarts": worker.reading.restarts,
            "outlined": worker.reading.outlined,
            **worker.counters.snapshot(),
            "options": options.shown(self.settings),
            "listeners": mitm.listeners(),
            "authority": str(Path(ctx.options.confdir).expanduser().resolve() / AUTHORITY),
        }

    def close(self) -> None:
        """Write what is queued and let go of store and spool. Called by the last addon's ``done``."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.services is None:
            return
        services, self.services = self.services, None
        helper.close()
        services.heads.close()
        services.price_watch.close()
        services.closing.close()
        services.worker.close()
        services.ledger.close()
        services.settling.close()
        if services.forwarder is not None:
            services.forwarder.close()
        services.reporter.close()
        services.fleet.close()
        if services.cache is not None:
            services.cache.close()
        services.objects.close()
        services.lookup.close()
        services.keys.close()
        services.refusals.close()

    def note_refused(self, call: Call, why_not: Refusal) -> None:
        """Hand a refused authentication to the audit log; never blocks, and ignores all others."""
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
        """Log one line for the user. An error that is logged during the start makes mitmproxy exit with 1.

        (Raised from here, it would be shown with a traceback, and the proxy would start without us.)
        """
        self.refused = True
        logger.error("%s", error)
        mitm.end_plainly_after_a_refused_start()

    def _open(self) -> Services:
        store, spool, link = self.settings.store, self.settings.spool, self._link()
        keys, lookup, objects = self._open_store(store)
        try:
            writer, journal = open_spool(spool)
            mark = UsageCheckpoint(spool, writer.writer)
            status = StatusFile(spool, writer.writer)
        except OSError as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_spool: {spool}: {error.strerror}") from error
        engine = engine_of(store)
        # A file that is away cannot be asked for tokens either.
        grace = 0 if store.path else self.settings.store_grace
        ledger = LedgerWorker(
            engine, grace_seconds=grace, away=lookup.away, recent=self.settings.recent_calls
        )
        history = History()
        threading.Thread(target=self._warm_up, args=[engine], name="llmproxy-warm-up", daemon=True).start()
        threading.Thread(target=history.seed, args=[engine], name="llmproxy-history", daemon=True).start()
        settling = Settling(ledger, mark, writer.writer, history)
        closing = Recovery(spool, self.cost_of, engine, ledger, settling)
        worker = Worker(writer, settling, reader_of(self.settings.workers))
        worker.accounts = SharedUsage(objects)
        ledger.on_reached = worker.put_marks
        refusals = AuthFailures(engine)
        cache = open_cache(self.settings.cache, engine)
        reporter = Reporter(status, worker.writer, lambda: self._figures(worker, refusals, lookup, cache))
        forwarder = Forwarder(spool, link, price=self.cost_of) if link is not None else None
        return Services(
            lookup=lookup,
            keys=keys,
            objects=objects,
            ledger=ledger,
            history=history,
            settling=settling,
            closing=closing,
            worker=worker,
            journal=journal,
            reporter=reporter,
            forwarder=forwarder,
            mint=EphemeralKeyMaker(store),
            refusals=refusals,
            heads=AuditHeadReporter(engine, worker.put_marks),
            price_watch=PriceWatch(engine, self.take_price_list),
            fleet=FleetReporter(engine, spool, writer.writer),
            cache=cache,
        )

    def _open_store(self, store: StoreLocation) -> tuple[KeyCache, Lookup, ObjectWorker]:
        """Open the store, or make it, and tell the operator what is worth knowing of it."""
        created = not store.exists()
        try:
            tokens = TokenStore.open(store, create=self.settings.store_create)
            plain = tokens.keys.check()
            lookup = lookup_of(store, grace_seconds=self.settings.store_grace)
            objects = ObjectWorker(store, away=lookup.away)
        except NotFound as error:
            raise exceptions.OptionsError(
                f"llmproxy: option llm_store: {error} A new, empty one is made only with "
                "--set llm_store_create=true."
            ) from error
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
        return keys, lookup, objects

    def _link(self) -> Link | None:
        if self.settings.bus is None:
            return None
        try:
            return Link(self.settings.bus)
        except BadBus as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_bus: {error}") from error


def _keys(store: StoreLocation, projects: Sequence[Project]) -> KeyCache:
    """Ask for the keys that are kept elsewhere now, so that the first calls find them."""
    keys = KeyCache(store)
    for project in projects:
        if project.active and project.key.is_reference:
            keys.get(project)
    return keys
