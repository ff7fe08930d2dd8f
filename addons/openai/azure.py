"""Azure OpenAI: its hosts, and its deployments, whose names are free text.

There the URL decides what is called: ``/openai/deployments/NAME/...`` serves that deployment, whatever the
body says. On the paths without a deployment (``/openai/v1/...``, ``/openai/responses``) the body's ``model``
is the name of a deployment. Which model a deployment is, only the operator knows for sure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


def model_of_deployment(deployments: Mapping[str, str], name: str | None) -> str | None:
    """The model behind a deployment, as configured; names are compared as Azure does, in any case."""
    if name is None:
        return None
    wanted = name.strip().lower()
    return next((model for known, model in deployments.items() if known.lower() == wanted), None)
