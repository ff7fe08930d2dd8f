"""Health, metrics and the management API over HTTP, on a port of their own (option ``llm_management``).

Served by tornado, which mitmproxy brings along, on the proxy's event loop: so handlers do nothing that takes
time. Not through the proxy: a flow would go the way of the clients' traffic, and the gate refuses this port
as a destination.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from mitmproxy import ctx
from prometheus_client import CONTENT_TYPE_LATEST
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from addons import metrics, options
from addons.destination import is_loopback
from addons.management_api.access import VARIABLE
from addons.management_api.routes import routes
from addons.management_api.store_thread import StoreThread
from addons.runtime import Runtime
from store.errors import StoreUnavailable

logger = logging.getLogger(__name__)

LONGEST_QUEUE = 10_000
"""Finished calls that wait to be written, beyond which the proxy does not count as healthy."""

DENIED = "management_token"
"""Reason under which the audit log counts who is not let in."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the proxy is not healthy."""

    code: str
    message: str


class Management:
    """Listens while the proxy runs."""

    name = "llmproxy-management"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._server: HTTPServer | None = None
        self._store: StoreThread | None = None

    def running(self) -> None:
        address = self.runtime.settings.management if self.runtime.services else None
        if address is None or self._server is not None:
            return
        store = StoreThread(self.runtime.settings.store)
        server = HTTPServer(application(self.runtime, store), max_body_size=2**20, idle_connection_timeout=60)
        try:
            sockets = bind_sockets(address.port, address.host)
        except OSError as error:
            # Logged as an error during the start, this ends mitmproxy with 1.
            logger.error("llmproxy: option llm_management=%s: %s; use another port.", address, error.strerror)
            return
        server.add_sockets(sockets)
        self._server, self._store = server, store
        bound = options.Address(*sockets[0].getsockname()[:2])  # port 0 becomes a free one
        logger.info("llmproxy: health and metrics at http://%s.", bound)
        if self.runtime.settings.management_token is None:
            logger.info("llmproxy: the management API is off; %s turns it on.", VARIABLE)
            return
        logger.info("llmproxy: the management API at http://%s/manage/.", bound)
        if not is_loopback(bound.host):
            logger.warning(
                "llmproxy: llm_management=%s is plain HTTP: others on the network may read the management "
                "token, and the keys that are sent there; put TLS in front of it.",
                bound,
            )

    def done(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
        if self._store is not None:
            store, self._store = self._store, None
            store.close()


def application(runtime: Runtime, store: StoreThread) -> Application:
    """The routes. Health and metrics show nothing that is secret, and need no token."""
    given = {"runtime": runtime}

    def denied(address: str | None) -> None:
        if runtime.services is not None:
            runtime.services.refusals.note(DENIED, address)

    return Application(
        [
            ("/health", HealthHandler, given),
            ("/metrics", MetricsHandler, given),
            *routes(store, runtime.settings.management_token, denied),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda handler: None,  # noqa: ARG005 - tornado's signature; nothing is logged
    )


class Handler(RequestHandler):
    """What all handlers share: the runtime, and errors in OpenAI's form."""

    runtime: Runtime

    def initialize(self, runtime: Runtime | None = None) -> None:
        if runtime is not None:
            self.runtime = runtime

    def set_default_headers(self) -> None:
        self.set_header("Server", "llmproxy")
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **_: Any) -> None:  # noqa: ARG002 - tornado's
        error = {"message": self._reason, "type": "invalid_request_error", "param": None, "code": None}
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": error}))


class NotFoundHandler(Handler):
    def prepare(self) -> None:
        self.send_error(404, reason="There is nothing here; see /health, /metrics and /manage/.")


class HealthHandler(Handler):
    """200 while calls are served, 503 with the reasons otherwise."""

    def get(self) -> None:
        reasons = unhealthy(self.runtime)
        self.set_status(503 if reasons else 200)
        self.set_header("Content-Type", "application/json")
        status = "failing" if reasons else "ok"
        self.finish(
            json.dumps(
                {
                    "status": status,
                    "reasons": [{"code": reason.code, "message": reason.message} for reason in reasons],
                }
            )
        )

    def head(self) -> None:
        self.get()


class MetricsHandler(Handler):
    def get(self) -> None:
        if self.runtime.services is None:
            self.send_error(503, reason="The proxy is not ready.")
            return
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(metrics.exposition(self.runtime.figures()))


def unhealthy(runtime: Runtime) -> list[Reason]:
    """Why calls are refused, or may get lost, at this moment."""
    services = runtime.services
    if services is None:
        return [Reason("proxy_not_ready", "the gate is not in force")]
    reasons = []
    if not services.worker.healthy:
        reasons.append(Reason("spool_unavailable", "events cannot be written; see the log"))
    if services.worker.pressure.full:
        reasons.append(Reason("spool_full", "the spool has reached llm_spool_limit"))
    if (waiting := services.worker.queue_length) > LONGEST_QUEUE:
        reasons.append(Reason("queue_long", f"{waiting} finished calls wait to be written"))
    if names := options.unsafe(ctx.options):
        reasons.append(Reason("unsafe_options", f"unset {', '.join(names)}"))
    try:
        services.lookup.ready()
    except StoreUnavailable as error:
        reasons.append(Reason("store_unavailable", str(error)))
    return reasons
