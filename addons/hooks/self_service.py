"""Answer the holder of a proxy token who asks about it.

``GET /v1/llmproxy/me``, ``/usage`` and ``/calls/ID``, with the proxy token as for any call, unless option
``llm_self_service`` is off. Nothing of it goes upstream, nothing is counted, and no event tells of it; a
refused token is in the audit log all the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from mitmproxy import http

from addons.checks.access import Network, Origin
from addons.checks.authentication import Authentication, TokenStanding
from addons.checks.check import Phase, first_refusal, grant_of
from addons.checks.limits.claims import ClaimedByHeaders
from addons.flow import credential
from addons.flow.call import Call, new_call
from addons.flow.errors import Refusal
from addons.flow.fail_closed import fail_closed, refuse
from addons.management_api import errors
from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields
from addons.management_api.store_thread import StoreThread
from addons.management_api.ways import TOP, TOP_OVER_TIME, ways_of
from addons.mitm import internals as mitm
from addons.openai.endpoints import resolve
from addons.runtime import Runtime
from store.audit.origin import NOBODY
from store.core.errors import StoreError
from store.ledger.use import shown
from store.spool.recent import find, without_content
from store.tokens.models import Grant
from store.tokens.store import TokenStore
from store.usage import recent_calls
from store.usage.breakdown import Question, break_down
from store.usage.reports import TIMES, Usage

FOLDER = "/v1/llmproxy"
USUAL = timedelta(days=30)
HIDDEN = ("project_id", "project_name", "token_id", "token_metadata", "client", "writer", "seq")
"""Fields of a call that its caller knows, or has no use for."""
SCANNED = 16 * 2**20
"""Bytes of the spool that are looked through for a call."""
Answer = dict[str, Any]


class SelfService:
    """Stands before the gate, and takes what is asked of the proxy itself."""

    name = "llmproxy-self-service"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.checks = [Authentication(runtime), TokenStanding(), Network(), Origin(), ClaimedByHeaders()]
        self._store: StoreThread | None = None

    def done(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    @fail_closed
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        path, _, query = flow.request.path.partition("?")
        if not flow.live or flow.response or flow.error or not path.startswith(f"{FOLDER}/"):
            return
        settings = self.runtime.settings
        if settings.self_service == "off" or not settings.destinations.concerns(flow):
            return
        call = new_call(flow, resolve(flow.request.method, path))
        call.presented = credential.presented(flow.request)
        why_not = await first_refusal(self.checks, Phase.HEADERS, call)
        credential.remove(flow.request, call.grant.token.id if call.grant else "refused")
        if why_not is not None:
            self.runtime.note_refused(call, why_not)
            refuse(flow, why_not)
            return
        try:
            answer = await self._answer(call, path.removeprefix(FOLDER), query)
        except StoreError as error:
            refuse(flow, _refusal(ApiError.of(error)))
        except ApiError as error:
            refuse(flow, _refusal(error))
        else:
            headers = {"content-type": "application/json", "cache-control": "no-store"}
            flow.request.stream = False
            flow.response = http.Response.make(200, json.dumps(answer, ensure_ascii=False) + "\n", headers)
            mitm.discard_request_body(flow)

    async def _answer(self, call: Call, path: str, query: str) -> Answer:
        if call.method not in ("GET", "HEAD"):
            raise ApiError(405, "method_not_allowed", "Use GET here.")
        given = dict(parse_qsl(query, keep_blank_values=True))
        found: Callable[[Grant, dict[str, str]], Awaitable[Answer]] | None
        found = {"/me": self._me, "/usage": self._usage}.get(path)
        if found is not None:
            return await found(grant_of(call), given)
        if path.startswith("/calls/"):
            return await self._call(grant_of(call), path.removeprefix("/calls/"))
        raise ApiError(404, "not_found", f"There are {FOLDER}/me, {FOLDER}/usage and {FOLDER}/calls/ID.")

    async def _me(self, grant: Grant, given: dict[str, str]) -> Answer:
        """Show the token, what is left of its limits, its project's, and those of what this request names."""
        Fields(given, ())

        def read(store: TokenStore) -> Answer:
            token, project = store.get_token(grant.token.id), store.get_project(grant.project.id)
            gauges = store.grant_use(Grant(project, token, claims=grant.claims))
            ends = grant.secret_ends_at
            return {
                **token.as_dict(),
                "project_name": project.name,
                "models": [list(limits.models) for limits in grant.limits if limits.models],
                "text_ends_at": None if ends is None else ends.isoformat(),
                "use": shown(gauges, time.time()),
            }

        return await self._read(read)

    async def _usage(self, grant: Grant, given: dict[str, str]) -> Answer:
        """Show what the token has used, by day and model unless other groups are asked for."""
        fields = Fields(given, ("by", "since", "until", "tz", "top"))
        ways = ways_of(fields, "day,model")
        zone, now = fields.zone("tz"), datetime.now(UTC)
        since, until = fields.past("since", zone) or now - USUAL, fields.past("until", zone)
        top = fields.limit("top", TOP_OVER_TIME if set(ways) & set(TIMES) else TOP)
        asked = Question(Usage(ways, since, until, token_id=grant.token.id, zone=zone), top)
        return await self._read(lambda store: break_down(store.connection, asked, now))

    async def _call(self, grant: Grant, call_id: str) -> Answer:
        """Show one call of the token, without what it said: its usage, its cost, its outcome."""
        spool = self.runtime.settings.spool

        def read(store: TokenStore) -> Answer:
            kept = recent_calls.find(store.connection, call_id)
            return kept or find(spool, call_id, scanned=SCANNED) or {}

        found = await self._read(read)
        if found.get("token_id") != grant.token.id:
            raise ApiError(
                404,
                "not_found",
                f"No call {call_id[:64]!r} of this token is on record: it is not over yet, or long ago.",
            )
        return {name: value for name, value in without_content(found).items() if name not in HIDDEN}

    async def _read(self, work: Callable[[TokenStore], Answer]) -> Answer:
        if self._store is None:
            self._store = StoreThread(self.runtime.settings.store, threads=2)
        return await self._store.do(work, NOBODY)


def _refusal(error: ApiError) -> Refusal:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    retry = errors.RETRY_SECONDS if error.status == 503 else None
    return Refusal(error.status, error.code, error.message, kind, error.param, retry_after=retry)
