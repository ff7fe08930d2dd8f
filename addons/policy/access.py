"""Who may call what, from where: what token, project and options allow. All of them have to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from addons import refusal
from addons.openai.endpoints import Endpoint
from addons.openai.model_of import Allowed
from addons.refusal import Refusal
from store.models import Grant

TOKEN, PROJECT = "the proxy token", "its project"
"""Whose limits they are, for messages; in the order of :attr:`store.models.Grant.limits`."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def judge(grant: Grant, endpoint: Endpoint, client: str | None) -> Refusal | None:
    """Why a client at this address may not call this endpoint with this token."""
    for limits, whose in zip(grant.limits, (TOKEN, PROJECT), strict=True):
        if limits.networks and not _is_within(client, limits.networks):
            return refusal.network_refused(client, whose, limits.networks)
    for limits, whose in zip(grant.limits, (TOKEN, PROJECT), strict=True):
        if limits.endpoints and {endpoint.name, endpoint.risk}.isdisjoint(limits.endpoints):
            return refusal.endpoint_refused(endpoint.name, f"{whose} allows {', '.join(limits.endpoints)}")
    return None


def models(grant: Grant, of_option: tuple[str, ...]) -> tuple[Allowed, ...]:
    """The lists of models that are in force; none where every model is allowed."""
    lists = [(of_option, "option llm_models")]
    lists += [
        (limits.models, f"models of {whose}")
        for limits, whose in zip(grant.limits, (TOKEN, PROJECT), strict=True)
    ]
    return tuple(Allowed(globs, whose) for globs, whose in lists if globs and "*" not in globs)


def _is_within(client: str | None, networks: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address((client or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _networks(networks))


@lru_cache(maxsize=4096)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)
