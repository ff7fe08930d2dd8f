"""What the addons share: the parsed options, the store, the quota clerk and the worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from addons import mitm, options, seal, wire
from addons.worker import Worker
from store.errors import StoreError
from store.lookup import TokenLookup
from store.quota import QuotaClerk
from store.spool import SpoolWriter
from store.tokens import TokenStore

logger = logging.getLogger(__name__)

FIXED_AT_START = {"llm_store", "llm_spool"}


@dataclass(slots=True)
class Services:
    """What is open while the proxy serves."""

    lookup: TokenLookup
    quota: QuotaClerk
    worker: Worker


class Runtime:
    """First of the addons: owns the options and everything that has to be opened and closed."""

    settings: options.Settings
    services: Services | None = None
    """None before the start and after the end; the gate then refuses."""

    def load(self, loader: Loader) -> None:
        seal.install()  # before anything that can fail
        mitm.on_request_headers_sent(wire.with_key)
        options.declare(loader)
        options.refuse_vulnerable_mitmweb(type(ctx.master).__name__)
        # Eager would dial upstream before the token is known.
        ctx.options.update(connection_strategy="lazy")

    def configure(self, updated: set[str]) -> None:
        if self.services is not None and (fixed := FIXED_AT_START & updated):
            raise exceptions.OptionsError(
                f"llmproxy: option {min(fixed)} cannot change while the proxy runs; restart it."
            )
        if "connection_strategy" in updated and ctx.options.connection_strategy != "lazy":
            raise exceptions.OptionsError("llmproxy: option connection_strategy must stay lazy.")
        self.settings = options.parse(ctx.options)
        if self.services is None:
            self.services = self._open()
        self.services.worker.capture = self.settings.capture

    def running(self) -> None:
        for name in options.unknown(ctx.options):
            # An ERROR record during the start makes mitmproxy exit with 1.
            logger.error(
                "llmproxy: there is no option %s; see `mitmdump --options` for the llm_ options.", name
            )

    def close(self) -> None:
        """Write what is queued and let go of store and spool. Called by the last addon's ``done``."""
        if self.services is None:
            return
        services, self.services = self.services, None
        services.worker.close()
        services.quota.close()
        services.lookup.close()

    def _open(self) -> Services:
        store, spool = self.settings.store, self.settings.spool
        created = not store.exists()
        try:
            tokens = TokenStore.open(store)
            lookup = TokenLookup(store)
            quota = QuotaClerk(store)
        except (StoreError, OSError) as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_store: {error}") from error
        if created:
            logger.warning(
                "llmproxy: made an empty token store at %s; create a project and a token in it.", store
            )
        try:
            writer = SpoolWriter(spool)
        except OSError as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_spool: {spool}: {error.strerror}") from error
        return Services(lookup, quota, Worker(writer, tokens))
