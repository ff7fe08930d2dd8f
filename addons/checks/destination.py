"""Find where a call goes, and the key that goes with it."""

from __future__ import annotations

import asyncio

from addons.checks.check import Check, Circumstances, LiveCircumstances, Phase, grant_of, live_services_of
from addons.flow import errors, key_injection
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.network.destination import Upstream
from addons.openai.providers import provider_of
from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.keys.key_cache import KeyCache
from store.tokens.models import Project

KEY_SECONDS = 15.0
"""Longest that a call waits for its project's key (compare :data:`store.keys.key_references.AWS_SECONDS`)."""


class Destination(Check):
    """Refuse what would not reach an upstream that may receive a key."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        settings = self._here.settings
        try:
            call.upstream = settings.destinations.resolve(call.flow)
        except ValueError as error:
            return errors.destination_refused(str(error))
        path = call.upstream.target(call.url).partition("?")[0]
        call.provider = provider_of(call.upstream.host, path, settings.deployments)
        return None


class ProjectKey(Check):
    """Have the call go to its upstream, with its project's key."""

    phase = Phase.HEADERS

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        assert call.upstream is not None
        if call.minted is not None:
            key = call.minted.secret
        else:
            key = await key_of(grant_of(call).project, live_services_of(self._here).keys)
        direct(call, call.upstream, key)
        return None


def direct(call: Call, upstream: Upstream, key: Secret) -> None:
    """Write the upstream into the request, whose key is added when its head is sent."""
    call.secrets.append(key)
    request = call.flow.request
    request.scheme = upstream.scheme
    if (request.host, request.port) != (upstream.host, upstream.port):
        request.host, request.port = upstream.host, upstream.port
    request.host_header = upstream.authority
    request.path = upstream.target(request.path)
    key_injection.inject(request, key, upstream, bearer=call.minted is not None)


async def key_of(project: Project, keys: KeyCache) -> Secret:
    """Give the real key; a call waits for one that has to be read first. Raises KeyUnavailable."""
    found = keys.get(project)
    if isinstance(found, Secret):
        return found
    try:
        # Shielded: others wait for the same reading.
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(found)), KEY_SECONDS)
    except TimeoutError:
        raise KeyUnavailable("its source does not answer") from None
