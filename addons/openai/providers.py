"""Find whose API a call goes to, by a row for each provider: OpenAI, or Azure, whose models are deployments.

On Azure the URL decides what is called: ``/openai/deployments/NAME/...`` serves that deployment, whatever the
body says. Its name is free text. On the paths without a deployment (``/openai/v1/...``,
``/openai/responses``) the body's ``model`` is the name of a deployment. Which model a deployment is, only the
operator knows for sure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from urllib.parse import parse_qs, unquote

AZURE_OPENAI_HOSTS = (
    ".openai.azure.com",
    ".openai.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.com",
    ".cognitiveservices.azure.us",
    ".cognitiveservices.azure.cn",
    ".api.cognitive.microsoft.com",
    ".services.ai.azure.com",
    ".services.ai.azure.us",
)
"""Ends of the names under which Azure serves the API: of resources, of regions, in its other clouds."""
DEPLOYMENT = re.compile(r"/*openai/+deployments/+([^/]+)/", re.IGNORECASE)
OWN_DATA = "data_sources"
"""Azure refuses ``stream_options`` beside it ("On Your Data")."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Describes an API that serves OpenAI's models: OpenAI's own, which stands for all like it, or Azure."""

    name: str
    key_header: str
    key_scheme: str = ""
    """It is what stands before a key in its header."""
    hosts: tuple[str, ...] = ()
    """Globs of the hosts that serve its API: calls to them pass the gate or are refused."""
    gateways: tuple[str, ...] = ()
    """Globs of hosts that are known to be its customers'; what is behind one of those, its owner knows."""
    paths: str = ""
    """It is what paths of its API begin with, also behind a host with a name of one's own."""
    deployment: str | None = None
    """The deployment that the URL names, which decides the model; None where the body's `model` does."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The model of each deployment, as configured (option ``llm_deployments``)."""
    has_deployments: bool = False
    """It tells whether what a request calls its model is the name of a deployment."""
    stream_options_since: str | None = None
    """The first ``api-version`` that takes ``stream_options``; None where all do."""

    def credential(self, key: str) -> tuple[str, str]:
        """Give the header that carries a key, and its value."""
        return self.key_header, f"{self.key_scheme}{key}"

    def model(self, name: str | None) -> str | None:
        """Give the model behind a deployment, where that is known; names are compared in any case."""
        wanted = (name or "").strip().lower()
        return next((model for known, model in self.models.items() if known.lower() == wanted), None)

    def hides_model(self, name: str | None) -> bool:
        """Tell whether a name says nothing of the model that it stands for."""
        return self.has_deployments and self.model(name) is None

    def takes_stream_options(self, url: str, keys: Collection[str]) -> bool:
        """Tell whether a stream can be asked for its usage, with this URL and these keys in the body."""
        if self.stream_options_since is None:
            return True
        if OWN_DATA in keys:
            return False
        path, _, query = url.partition("?")
        version = parse_qs(query).get("api-version", [""])[-1]
        if re.match(r"\d{4}-\d\d-\d\d", version):
            return version >= self.stream_options_since
        return "/openai/v1/" in path


OPENAI = Provider("openai", "authorization", "Bearer ", hosts=("api.openai.com", "*.api.openai.com"))
AZURE = Provider(
    "azure",
    "api-key",
    hosts=tuple(f"*{ending}" for ending in AZURE_OPENAI_HOSTS),
    gateways=("*.azure-api.net",),
    paths="openai/",
    has_deployments=True,
    stream_options_since="2024-09-01",  # older versions refuse what they do not know
)
OTHERS = (AZURE,)
"""Providers beside OpenAI, whose own form is that of all servers that are like it."""
FAMILIES = tuple(host for provider in (OPENAI, *OTHERS) for host in provider.hosts)
"""Globs of all hosts that serve the API under a name that is known."""
_HOSTS = [
    (provider, re.compile("|".join(map(translate, (*provider.hosts, *provider.gateways)))))
    for provider in OTHERS
]


def provider_of(host: str, path: str = "", deployments: Mapping[str, str] | None = None) -> Provider:
    """Name whose API a call speaks to: told by its host, or (behind a name of one's own) by its path.

    >>> provider_of("acme.openai.azure.com", "/openai/v1/responses").name
    'azure'
    >>> provider_of("api.openai.com", "/v1/responses").name
    'openai'
    """
    name, start = host.lower(), path.lower().lstrip("/")
    for provider, hosts in _HOSTS:
        if hosts.match(name) or (provider.paths and start.startswith(provider.paths)):
            if not provider.has_deployments:
                return provider
            return replace(provider, deployment=deployment_in(path), models=deployments or {})
    return OPENAI


def deployment_in(path: str) -> str | None:
    """Give the deployment that a path names.

    >>> deployment_in("/openai/deployments/my-gpt/chat/completions")
    'my-gpt'
    """
    match = DEPLOYMENT.match(path)
    return unquote(match[1]) if match else None


def parse_deployments(pairs: Iterable[str]) -> dict[str, str]:
    """Give the model of each deployment, from ``NAME=MODEL``. Raises ValueError that names what is wrong."""
    models: dict[str, str] = {}
    for pair in pairs:
        name, equals, model = (part.strip() for part in pair.partition("="))
        if not (name and equals and model):
            raise ValueError(f"{pair!r}; write NAME=MODEL, such as prod-chat=gpt-4o.")
        if models.get(name, model) != model:
            raise ValueError(f"{name!r} twice, as {models[name]!r} and {model!r}; name one model.")
        models[name] = model
    return models
