"""List the services that are open while the proxy serves; :class:`addons.runtime.Runtime` closes each."""

from __future__ import annotations

from dataclasses import dataclass

from addons.caching.answers import AnswerCache
from addons.checks.history import History
from addons.recording.price_watch import PriceWatch
from addons.recording.recovery import Recovery
from addons.recording.reporter import Reporter
from addons.recording.settling import Settling
from addons.recording.worker import Worker
from store.audit.heads import AuditHeadReporter
from store.audit.refusals import AuthFailures
from store.bus import Forwarder
from store.keys.ephemeral_keys import EphemeralKeyMaker
from store.keys.key_cache import KeyCache
from store.ledger import LedgerWorker
from store.objects.worker import ObjectWorker
from store.spool import Journal
from store.tokens.lookup import Lookup
from store.upkeep.fleet import FleetReporter


@dataclass(slots=True)
class Services:
    """Holds all that the hooks share; every field is closed by the runtime."""

    lookup: Lookup
    keys: KeyCache
    objects: ObjectWorker
    ledger: LedgerWorker
    history: History
    settling: Settling
    closing: Recovery
    worker: Worker
    journal: Journal
    reporter: Reporter
    forwarder: Forwarder | None
    mint: EphemeralKeyMaker
    refusals: AuthFailures
    heads: AuditHeadReporter
    price_watch: PriceWatch
    fleet: FleetReporter
    cache: AnswerCache | None = None
    """None: no answers are kept (option ``llm_cache``)."""
