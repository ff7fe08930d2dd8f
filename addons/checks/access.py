"""Check networks, endpoints and models against what token, project and options allow: all of them have to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from addons.checks.check import Check, Phase, grant_of
from addons.flow import cors, errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.endpoint import Endpoint
from addons.openai.requested_model import Allowed
from store.tokens.limits import Limits
from store.tokens.models import Grant
from store.tokens.subjects import KNOWN, PROJECT, TOKEN, Subject

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Network(Check):
    """Refuse clients at addresses that the token or its project does not allow."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        return network_refused(grant_of(call), call.client_address)


class Origin(Check):
    """Refuse pages of origins that the token or its project does not allow; other clients name none."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        origin = call.flow.request.headers.get(cors.ORIGIN)
        grant = grant_of(call)
        for allowed, subject in ((grant.token.origins, TOKEN), (grant.project.origins, PROJECT)):
            if origin is not None and allowed and not cors.is_allowed(origin, allowed):
                return errors.origin_refused(origin, subject.name, allowed)
        return None


class TokenEndpoints(Check):
    """Refuse endpoints that the token or its project does not allow."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        return endpoint_refused(grant_of(call), call.kind)


def judge(grant: Grant, endpoint: Endpoint, client: str | None) -> Refusal | None:
    """Judge once more, for a session, a client's address and the endpoint; give the refusal, or None."""
    return network_refused(grant, client) or endpoint_refused(grant, endpoint)


def network_refused(grant: Grant, client: str | None) -> Refusal | None:
    """Say why a client at this address may not use this token."""
    for subject, limits in _limits(grant):
        networks = limits.networks
        if networks and not _is_within(client, networks):
            return errors.network_refused(client, subject.name, networks)
    return None


def endpoint_refused(grant: Grant, endpoint: Endpoint) -> Refusal | None:
    """Say why this endpoint may not be called with this token."""
    for subject, limits in _limits(grant):
        allowed = limits.endpoints
        if allowed and {endpoint.name, endpoint.risk}.isdisjoint(allowed):
            return errors.endpoint_refused(endpoint.name, f"{subject.name} allows {', '.join(allowed)}")
    return None


def models(grant: Grant, of_option: tuple[str, ...]) -> tuple[Allowed, ...]:
    """List the lists of models that are in force; none where every model is allowed."""
    lists = [(of_option, "option llm_models")]
    lists += [(limits.models, f"models of {subject.name}") for subject, limits in _limits(grant)]
    return tuple(Allowed(globs, whose) for globs, whose in lists if globs and "*" not in globs)


def _limits(grant: Grant) -> list[tuple[Subject, Limits]]:
    """Give the limits of token and project; others have no lists."""
    return [(subject, limits) for subject in KNOWN for _, limits in subject.members(grant)]


def _is_within(client: str | None, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address((client or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _networks(networks))


@lru_cache(maxsize=4096)
def _networks(texts: tuple[str, ...]) -> tuple[IpNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)
