"""Find the users whom a request names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def users_in(safety_identifier: Any, user: Any, metadata: Any) -> dict[str, str]:
    """Give those whom these members of a request name, by member, the one that counts most first."""
    said = {
        "safety_identifier": safety_identifier,
        "user": user,
        "metadata.user_id": metadata.get("user_id") if isinstance(metadata, Mapping) else None,
    }
    return {member: text for member, text in said.items() if isinstance(text, str) and text}
