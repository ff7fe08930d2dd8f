"""Azure OpenAI: its hosts, and its deployments, whose names are free text.

There the URL decides what is called: ``/openai/deployments/NAME/...`` serves that deployment, whatever the
body says. On the paths without a deployment (``/openai/v1/...``, ``/openai/responses``) the body's ``model``
is the name of a deployment. Which model a deployment is, only the operator knows for sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

SUFFIXES = (
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
    ".azure-api.net",
)
DEPLOYMENT = re.compile(r"/*openai/+deployments/+([^/]+)/", re.IGNORECASE)


def is_azure(host: str, path: str) -> bool:
    """Whether a call speaks to Azure: by its host, or (behind a name of one's own) by its path.

    >>> is_azure("acme.openai.azure.com", "/openai/v1/responses"), is_azure("api.openai.com", "/v1/responses")
    (True, False)
    """
    return host.lower().endswith(SUFFIXES) or path.lower().lstrip("/").startswith("openai/")


def deployment(path: str) -> str | None:
    """The deployment that a path names, which decides the model.

    >>> deployment("/openai/deployments/my-gpt/chat/completions")
    'my-gpt'
    """
    match = DEPLOYMENT.match(path)
    return unquote(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Azure:
    """What is known of a call to Azure beside its bytes."""

    deployment: str | None
    """That the URL names; None where the body's `model` does."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The model of each deployment, as configured (option ``llm_deployments``)."""

    def model(self, name: str | None) -> str | None:
        """The model behind a deployment; names are compared as Azure does, in any case."""
        wanted = (name or "").strip().lower()
        return next((model for known, model in self.models.items() if known.lower() == wanted), None)


def azure(host: str, path: str, models: Mapping[str, str]) -> Azure | None:
    """What is known of a call to `host` by this path; None where it is not one to Azure."""
    return Azure(deployment(path), models) if is_azure(host, path) else None


def parse_deployments(pairs: Iterable[str]) -> dict[str, str]:
    """The model of each deployment, from ``NAME=MODEL``. Raises ValueError that names what is wrong."""
    models: dict[str, str] = {}
    for pair in pairs:
        name, equals, model = (part.strip() for part in pair.partition("="))
        if not (name and equals and model):
            raise ValueError(f"{pair!r}; write NAME=MODEL, such as prod-chat=gpt-4o.")
        if models.get(name, model) != model:
            raise ValueError(f"{name!r} twice, as {models[name]!r} and {model!r}; name one model.")
        models[name] = model
    return models
