"""Find who counts reasoning beside the output: a usage without a total may leave it out of the output."""

from __future__ import annotations

import re

from addons.openai.usage.usage import Usage

HOST = re.compile(r"(?:.+\.)?x\.ai", re.IGNORECASE)
"""x.ai's own, in any region."""
MODEL = re.compile(r"(?:[\w.-]+/)*grok-", re.IGNORECASE)
"""Its models, which others serve in its way (Azure, gateways)."""
MISSING = "reasoning"


def placed(usage: Usage, host: str, model: str | None) -> Usage:
    """Give the usage, as a lower bound where nothing tells whether its output has the reasoning.

    x.ai's answers count it beside the output; their total tells, but not every gateway passes that on.
    """
    beside = HOST.fullmatch(host) or MODEL.match(model or "")
    return usage.lacking(MISSING) if usage.reasoning_unplaced and beside else usage
