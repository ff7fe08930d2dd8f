"""Serve health, metrics and the management API over HTTP, on a port of their own.

Served by tornado, which mitmproxy brings along, on the proxy's event loop: so handlers do nothing that takes
time. Not through the proxy: a flow would go the way of the clients' traffic, and the gate refuses this port
as a destination.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mitmproxy import ctx
from prometheus_client import CONTENT_TYPE_LATEST
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from addons.checks.history import History
from addons.management_api.access import Attempts
from addons.management_api.context import Api
from addons.management_api.oidc.code_flow import CodeFlow
from addons.management_api.oidc.issuer import Issuer
from addons.management_api.oidc.settings import OidcSettings
from addons.management_api.oidc.verifier import Verifier
from addons.management_api.routes import routes
from addons.management_api.store_thread import StoreThread
from addons.management_page.routes import page_routes
from addons.mitm import internals, listeners
from addons.recording import exposition, group
from addons.runtime import Runtime
from addons.settings import unsafe
from addons.settings.values import Address
from store.core.errors import StoreUnavailable
from store.upkeep.incidents import full_disks, late_dispatchers

LONGEST_QUEUE = 10_000
"""Finished calls that wait to be written, beyond which the proxy does not count as healthy."""

READERS = 2
"""Threads for what only reads."""

DENIED = "management_token"
"""Reason under which the audit log counts who is not let in."""


PARTS = {
    "proxy": ("proxy_not_ready", "unsafe_options"),
    "store": ("store_unavailable", "usage_undecided"),
    "spool": ("spool_unavailable", "spool_full"),
    "disk": ("disk_full",),
    "worker": ("queue_long",),
}
"""It is that of what `/ready` tells the state, by the codes that are against it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Says why the proxy is not healthy."""

    code: str
    message: str


def open_server(runtime: Runtime, address: Address) -> tuple[HTTPServer, Api, Address]:
    """Listen at an address, of which port 0 becomes a free one. Raises OSError."""
    handed_down = listeners.inherited(address.host, address.port)
    sockets = [handed_down] if handed_down else bind_sockets(address.port, address.host)
    api = api_of(runtime)
    server = HTTPServer(application(runtime, api), max_body_size=2**20, idle_connection_timeout=60)
    server.add_sockets(sockets)
    return server, api, Address(*sockets[0].getsockname()[:2])


def api_of(runtime: Runtime) -> Api:
    """Make the management API of this proxy, with threads of its own."""

    def denied(address: str | None) -> None:
        if runtime.services is not None:
            runtime.services.refusals.note(DENIED, address)

    settings = runtime.settings
    verifier, code_flow = oidc_of(settings.oidc)
    return Api(
        writing=StoreThread(settings.store),
        reading=StoreThread(settings.store, threads=READERS),
        token=settings.management_token,
        denied=denied,
        attempts=Attempts(),
        oidc=verifier,
        code_flow=code_flow,
        references=settings.management_keys,
        settings=lambda: runtime.settings,
        cache=lambda: runtime.services.cache if runtime.services is not None else None,
        history=lambda: runtime.services.history if runtime.services is not None else History(),
        listeners=internals.listeners,
    )


def oidc_of(settings: OidcSettings | None) -> tuple[Verifier | None, CodeFlow | None]:
    """Give what admits people by OpenID Connect."""
    if settings is None:
        return None, None
    issuer = Issuer(settings.issuer)
    verifier = Verifier(settings, issuer)
    client = settings.client
    return verifier, None if client is None else CodeFlow(issuer, client, verifier)


def application(runtime: Runtime, api: Api) -> Application:
    """Make the application. Health and metrics show nothing that is secret, and need no token."""
    given = {"runtime": runtime}
    return Application(
        [
            ("/health", HealthHandler, given),
            ("/live", LiveHandler, given),
            ("/ready", ReadyHandler, given),
            ("/metrics", MetricsHandler, given),
            *page_routes(api),
            *routes(api),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda handler: None,  # noqa: ARG005 - tornado's signature; nothing is logged
    )


class Handler(RequestHandler):
    """Shares what all handlers have: the runtime, and errors in OpenAI's form."""

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
        self.send_error(404, reason="There is nothing here; see /page/, /ready, /health, /metrics, /manage/.")


class LiveHandler(Handler):
    """Answers 200 as long as the event loop goes round: what else is wrong, a restart does not cure."""

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"status": "alive"}))

    def head(self) -> None:
        self.get()


class ReadyHandler(Handler):
    """Answers 200 where calls may be sent here, 503 where they would be refused; and the state of each part.

    A dispatcher that is behind, or fails, is told and is no reason: the spool holds its events.
    """

    async def get(self) -> None:
        settings = self.runtime.settings
        reasons = unhealthy(self.runtime)
        full = await asyncio.to_thread(full_disks, settings.store, settings.spool)
        late = await asyncio.to_thread(late_dispatchers, settings.spool)
        reasons += [Reason("disk_full", one.message) for one in full]
        found = {
            code: [one.message for one in reasons if one.code == code]
            for code in dict.fromkeys(one.code for one in reasons)
        }
        checks = {
            part: "failing" if any(code in found for code in codes) else "ok" for part, codes in PARTS.items()
        }
        checks["dispatcher"] = "late" if late else "ok"
        self.set_status(503 if reasons else 200)
        self.set_header("Content-Type", "application/json")
        answer = {
            "status": "failing" if reasons else "ready",
            "checks": checks,
            "reasons": [{"code": one.code, "message": one.message} for one in reasons],
            "late": [one.message for one in late],
        }
        self.finish(json.dumps(answer))

    async def head(self) -> None:
        await self.get()


class HealthHandler(Handler):
    """Answers 200 while calls are served, 503 with the reasons otherwise."""

    async def get(self) -> None:
        reasons = unhealthy(self.runtime)
        proxies: dict[str, Any] = {}
        if group.group() is not None:
            living = [value for value, alive in await asyncio.to_thread(_others, self.runtime) if alive]
            failing = [value["pid"] for value in living if not value.get("healthy", True)]
            reasons += [Reason("proxy_failing", f"the proxy with pid {pid} cannot serve") for pid in failing]
            proxies = {"proxies": sorted([os.getpid(), *(value["pid"] for value in living)])}
        self.set_status(503 if reasons else 200)
        self.set_header("Content-Type", "application/json")
        status = "failing" if reasons else "ok"
        self.finish(
            json.dumps(
                {
                    "status": status,
                    "reasons": [{"code": reason.code, "message": reason.message} for reason in reasons],
                    **proxies,
                }
            )
        )

    async def head(self) -> None:
        await self.get()


class MetricsHandler(Handler):
    async def get(self) -> None:
        services = self.runtime.services
        if services is None:
            self.send_error(503, reason="The proxy is not ready.")
            return
        figures = self.runtime.figures()
        times: group.Times = services.worker.counters.times
        if group.group() is not None:
            rest = await asyncio.to_thread(_others, self.runtime)
            figures, times = group.summed(figures, rest), group.times(times, rest)
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(exposition.exposition(figures, times))


def _others(runtime: Runtime) -> list[tuple[Mapping[str, Any], bool]]:
    """Give what the other proxies of ``llmproxy serve`` said last. Reads files."""
    writer = runtime.services.worker.writer if runtime.services is not None else ""
    return group.others(runtime.settings.spool, writer)


def unhealthy(runtime: Runtime) -> list[Reason]:
    """Give the reasons why calls are refused, or may get lost, at this moment."""
    services = runtime.services
    if services is None:
        return [Reason("proxy_not_ready", "the gate is not in force")]
    reasons = []
    if not services.worker.healthy:
        reasons.append(Reason("spool_unavailable", "events cannot be written; see the log"))
    if services.worker.pressure.full:
        reasons.append(Reason("spool_full", "the spool has reached llm_spool_limit"))
    if services.worker.accounts is not None and not services.worker.accounts.decides:
        reasons.append(Reason("usage_undecided", "the store does not decide whose the shown usage is"))
    if (waiting := services.worker.queue_length) > LONGEST_QUEUE:
        reasons.append(Reason("queue_long", f"{waiting} finished calls wait to be written"))
    if names := unsafe.unsafe(ctx.options):
        reasons.append(Reason("unsafe_options", f"unset {', '.join(names)}"))
    try:
        services.lookup.ready()
    except StoreUnavailable as error:
        reasons.append(Reason("store_unavailable", str(error)))
    return reasons
