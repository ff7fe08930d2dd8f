"""Read paths of requests: what precedes an endpoint's own, and paths that two parsers read differently."""

from __future__ import annotations

import re

# The API itself; Azure's three forms; common gateways.
PREFIX = re.compile(r"/(?:(?:openai|api|api/openai)/)?(?:v1/|deployments/[^/]+/)?")

# Two parsers may read these in two ways, and then what was checked is not what is served.
AMBIGUOUS = re.compile(r"//|/\.{1,2}(?:/|$)|%2e|%2f|%5c|\\|;|[\x00-\x20\x7f]", re.IGNORECASE)


def is_ambiguous(path: str) -> bool:
    """Tell whether two parsers may take `path` for two different ones."""
    return AMBIGUOUS.search(path) is not None
