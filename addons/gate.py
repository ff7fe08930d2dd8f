"""The gate: no request reaches OpenAI without a valid token, and no token sees the real key.

Everything is decided before upstream is dialled: in ``requestheaders`` what :func:`store.lookup.check` looks
at, the client's network and the endpoint; in ``request``, with the body, the model and the answer's length.
Last the call is reserved (:mod:`store.ledger`), so that a refusal uses nothing up.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from datetime import UTC, datetime
from weakref import WeakSet

from mitmproxy import connection, ctx, http, tcp, tls
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons import credential, marks, minting, model_gate, options, refusal, request_metadata, wire
from addons.calls import Call, asks_for_websocket, open_call, open_calls
from addons.destination import Upstream, is_loopback, is_public, not_served
from addons.fail_closed import fail_closed, refuse
from addons.openai.azure import azure
from addons.openai.endpoints import Endpoint, resolve
from addons.ownership import Ownership
from addons.policy import access, output, reservation
from addons.refusal import Refusal
from addons.runtime import Runtime, Services
from store import minted
from store.errors import KeyUnavailable, StoreUnavailable
from store.key_cache import KeyCache
from store.lookup import Reason, check
from store.models import Grant, Project
from store.secret import Secret
from store.token_text import fingerprint

FIND_SECONDS = 15.0
"""Longest that a call waits for the store to find its token."""
KEY_SECONDS = 15.0
"""Longest that a call waits for its project's key (compare :data:`store.key_references.AWS_SECONDS`)."""


class Gate:
    """Clears, refuses or ignores every flow; nothing passes unmarked (see :mod:`addons.seal`)."""

    name = "llmproxy-gate"  # mitmproxy refuses two addons of one name, and takes the class's by default

    def __init__(self, runtime: Runtime, ownership: Ownership) -> None:
        self.runtime = runtime
        self.ownership = ownership
        self.raw_clients: WeakSet[connection.Client] = WeakSet()

    @fail_closed
    def http_connect(self, flow: http.HTTPFlow) -> None:
        if flow.response:
            return None
        host, port = flow.request.host, flow.request.port
        destinations = self.runtime.settings.destinations
        if destinations.is_openai(host):
            if not destinations.serves(host):
                return refuse(flow, refusal.destination_refused(not_served(host)))
            if port != 443:
                return refuse(
                    flow, refusal.destination_refused(f"port {port} of {host} is not allowed, only 443")
                )
        elif why := self.refuses_other(host):
            return refuse(flow, refusal.destination_refused(why))
        flow.metadata[marks.CLEARED] = True
        return None

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """Intercept TLS where either the address or the server name is OpenAI's; leave all else untouched."""
        destinations = self.runtime.settings.destinations
        server = data.context.server.address
        reverse = data.context.client.proxy_mode.type_name == "reverse"
        named = destinations.is_openai(data.client_hello.sni) or destinations.is_openai(server and server[0])
        data.ignore_connection = not (named or reverse)

    @fail_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.live or flow.response or flow.error:
            return None
        if not self.runtime.settings.destinations.concerns(flow):
            if why := self.refuses_other(flow.request.host):
                return refuse(flow, refusal.destination_refused(why))
            flow.metadata[marks.CLEARED] = True
            return None
        path, _, query = flow.request.path.partition("?")
        upgrade = asks_for_websocket(flow.request)
        endpoint = resolve(flow.request.method, path, upgrade=upgrade, query=query)
        call = open_call(flow, endpoint)
        flow.metadata[marks.CALL] = call.id
        why_not = await self.judge(flow, call, endpoint)
        if why_not is not None:
            call.refused = why_not.code
            self.runtime.note_refused(call, why_not)
            return refuse(flow, why_not)
        return None

    async def judge(self, flow: http.HTTPFlow, call: Call, endpoint: Endpoint) -> Refusal | None:
        """Clear `flow` for its upstream, or say why not; its credential leaves the flow either way."""
        presented = credential.presented(flow.request)
        shown_as = "refused"
        try:
            if presented:
                call.secrets.append(presented)
            services = self.runtime.services
            if services is None:
                return refusal.SEALED
            if options.unsafe(ctx.options):
                return refusal.UNSAFE_OPTIONS
            if not services.worker.healthy:
                return refusal.SPOOL_UNAVAILABLE
            if services.worker.refuses_calls:
                return refusal.SPOOL_FULL
            if presented is None:
                return refusal.BY_REASON[Reason.MISSING]
            try:
                call.grant = grant = await self.grant_of(call, presented, services)
                if grant is None:
                    return refusal.BY_REASON[Reason.UNKNOWN]
                shown_as = grant.token.id
                return await self.judge_grant(flow, call, endpoint, grant, services)
            except StoreUnavailable:
                return refusal.STORE_UNAVAILABLE
            except KeyUnavailable:
                return refusal.KEY_UNAVAILABLE
        finally:
            credential.remove(flow.request, shown_as)
            names = call.grant.header_metadata if call.grant else ()
            call.request_metadata = request_metadata.take(flow.request.headers, names)
            call.headers = list(flow.request.headers.items(multi=True))

    async def grant_of(self, call: Call, presented: Secret, services: Services) -> Grant | None:
        """What the client's token grants; for an ephemeral key what the token does that it was made with."""
        text = presented.reveal()
        if text.startswith(minted.PREFIX):
            call.minted = await asyncio.to_thread(services.mint.open, text)
        call.fingerprint = call.minted.fingerprint if call.minted else fingerprint(text)
        found = services.lookup.find_fingerprint(call.fingerprint)
        if not isinstance(found, Future):
            return found
        try:
            return await asyncio.wait_for(asyncio.wrap_future(found), FIND_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer") from None

    async def judge_grant(
        self, flow: http.HTTPFlow, call: Call, endpoint: Endpoint, grant: Grant, services: Services
    ) -> Refusal | None:
        if reason := check(grant, datetime.now(UTC)):
            return refusal.BY_REASON[reason]
        if why_not := access.judge(grant, endpoint, call.client_address):
            return why_not
        if call.minted and (why_not := minting.why_not(call.minted, call, flow.request.path)):
            return why_not
        why_not = await self.judge_endpoint(call, endpoint, grant, services)
        try:
            upstream = self.runtime.settings.destinations.resolve(flow)
        except ValueError as error:
            return refusal.destination_refused(str(error))
        if why_not is not None:
            return why_not
        key = call.minted.secret if call.minted else await self.key_of(grant.project, services.keys)
        if asks_for_websocket(flow.request):
            if not _is_websocket(flow.request):
                return refusal.NO_WEBSOCKET
            # Compressed, a small message may be one that fills the memory.
            flow.request.headers.pop("sec-websocket-extensions", None)
        self.lead(flow, call, upstream, key)
        call.models = access.models(grant, self.runtime.settings.models)
        request = flow.request
        if why_not := model_gate.take_form(request, call) or self.ownership.take_form(request, call):
            return why_not
        if why_not := await reservation.before_the_body(call, services, self.runtime.settings.prices):
            return why_not
        if endpoint.risk == "key_minting":
            flow.metadata[marks.MINTS] = True
        flow.metadata[marks.CLEARED] = True
        return None

    def lead(self, flow: http.HTTPFlow, call: Call, upstream: Upstream, key: Secret) -> None:
        """Have the call go to its upstream, with the key."""
        call.secrets.append(key)
        request = flow.request
        request.scheme, request.host, request.port = upstream.scheme, upstream.host, upstream.port
        request.host_header = upstream.authority
        request.path = upstream.target(request.path)
        wire.inject(request, key, upstream, bearer=call.minted is not None)
        call.azure = azure(upstream.host, request.path.partition("?")[0], self.runtime.settings.deployments)

    async def judge_endpoint(
        self, call: Call, endpoint: Endpoint, grant: Grant, services: Services
    ) -> Refusal | None:
        """Why the endpoint is not served at all, or, as it leads to what is another's, not to this token."""
        if not endpoint.allowed_by(self.runtime.settings.endpoints):
            return refusal.endpoint_refused(endpoint.name)
        if endpoint.risk == "administration" and not endpoint.allowed_by(grant.token.limits.endpoints):
            return refusal.NO_ADMINISTRATOR
        if endpoint.risk == "key_minting" and (why_not := await minting.prepare(services.mint)):
            return why_not
        return await self.ownership.judge_target(call, grant)

    async def key_of(self, project: Project, keys: KeyCache) -> Secret:
        """The real key; a call waits for one that has to be read first. Raises KeyUnavailable."""
        found = keys.get(project)
        if isinstance(found, Secret):
            return found
        try:
            # Shielded: others wait for the same reading.
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(found)), KEY_SECONDS)
        except TimeoutError:
            raise KeyUnavailable("its source does not answer") from None

    @fail_closed
    async def request(self, flow: http.HTTPFlow) -> None:
        """Once the body is there, and still before upstream is dialled: the model, the length of the answer,
        whose objects it uses; last the reservation, so that no refusal uses anything up."""
        call = open_calls.get(flow.id)
        if call is None or call.refused or flow.response or flow.error:
            return None
        # They come with the body's end, and are no part of the API.
        flow.request.trailers = None
        request, services = flow.request, self.runtime.services
        # A large body takes a while to read.
        aside = len(request.raw_content or b"") > reservation.ON_LOOP
        why_not = (
            (
                await asyncio.to_thread(self.judge_body, request, call)
                if aside
                else self.judge_body(request, call)
            )
            or await self.ownership.judge_body(request, call)
            or await reservation.with_the_body(call, services, self.runtime.settings.prices)
        )
        if why_not is not None:
            call.refused = why_not.code
            return refuse(flow, why_not)
        return None

    def judge_body(self, request: http.Request, call: Call) -> Refusal | None:
        """What has to be read from the body, and is read only then."""
        if not (model_gate.is_restricted(call) or output.is_limited(call)):
            return None
        asked = model_gate.asked(request, call)
        return (
            model_gate.judge(call, asked)
            or model_gate.judge_tools(request, call)
            or output.judge(request, call, model_gate.known(call, asked))
        )

    def refuses_other(self, host: str) -> str | None:
        """Why a host that is not OpenAI's may not be reached, or None. server_connect resolves names."""
        if self.runtime.settings.other_hosts == "refuse":
            return f"{host} is not an OpenAI host, and others are refused (option llm_other_hosts)"
        if is_loopback(host) or not _may_be_public(host):
            return f"{host} is not a public address"
        return None

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Before any upstream connection: no private addresses, whatever name leads to them."""
        address = data.server.address
        if address is None or data.server.via:
            return
        host, port = address[:2]
        try:
            management = self.runtime.settings.management
            if management is not None and management.covers(host, port):
                data.server.error = "the proxy's own management port is no destination"
            elif data.client in self.raw_clients:
                data.server.error = "raw bytes towards an OpenAI host are refused"
            elif not self.may_dial(data.client, host, port) and (found := await _look_up(host, port)):
                public = [ip for ip in found if is_public(ip)]
                if len(public) < len(found):
                    data.server.error = f"{host} leads to an address that is not public"
                else:
                    # Dial what was checked: a second look-up may give another answer.
                    data.server.address = (public[0], port)
        except Exception as error:
            data.server.error = f"llmproxy could not check {host}: {error}"

    def may_dial(self, client: connection.Client, host: str, port: int) -> bool:
        reverse = client.proxy_mode.type_name == "reverse"
        return reverse or self.runtime.settings.destinations.may_dial(host, port)

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """Bytes that are not HTTP, towards an OpenAI host: there is nothing to gate, so nothing passes."""
        address = flow.server_conn.address
        destinations = self.runtime.settings.destinations
        if destinations.is_openai(address and address[0]) or destinations.is_openai(flow.client_conn.sni):
            self.raw_clients.add(flow.client_conn)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        if flow.client_conn in self.raw_clients:
            flow.messages[-1].content = b""


def _is_websocket(request: http.Request) -> bool:
    """Whether mitmproxy will take what follows for a WebSocket's messages, and not for bytes of any kind."""
    return (
        request.headers.get("upgrade", "").lower() == "websocket"
        and request.headers.get("sec-websocket-version", "") == "13"
        and bool(ctx.options.websocket)
    )


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host.strip("[]"))
    except ValueError:
        return True  # a name


async def _look_up(host: str, port: int) -> list[str]:
    """The addresses of `host`, IPv4 first; none where the look-up fails (dialling will say why)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [
        str(sockaddr[0]) for *_, sockaddr in sorted(found, key=lambda entry: entry[0] is not socket.AF_INET)
    ]
