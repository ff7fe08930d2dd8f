"""Redact bodies that hold secrets by their nature: of vaults, webhooks and the organization's keys."""

from __future__ import annotations

import re
from typing import Any

LOOKS_SECRET = re.compile(r"\b(?:ek|sk|rk|whsec)[-_][A-Za-z0-9_+/=-]{8,}")
NAMED_SECRET = re.compile(r"secret|token|credential|password|api_?key|authorization", re.IGNORECASE)
PLAIN_NAMES = ("_id", "_ids", "_type", "_endpoint", "_url", "_tokens")
REDACTED = "[redacted]"


def without_secrets(value: Any, name: str = "") -> Any:
    """Redact each text in `value` that is a secret, by its own look or by the name that it stands under.

    >>> without_secrets({"id": "whe_1", "signing_secret": "whsec_0123456789", "vault_id": "vault_1"})
    {'id': 'whe_1', 'signing_secret': '[redacted]', 'vault_id': 'vault_1'}
    """
    if isinstance(value, dict):
        return {key: without_secrets(member, str(key)) for key, member in value.items()}
    if isinstance(value, list):
        return [without_secrets(member, name) for member in value]
    if not isinstance(value, str):
        return value
    if NAMED_SECRET.search(name) and not name.endswith(PLAIN_NAMES):
        return REDACTED
    return LOOKS_SECRET.sub(REDACTED, value)
