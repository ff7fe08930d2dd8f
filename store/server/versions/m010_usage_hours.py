"""Hourly sums of calls.

Revision ID: m010_usage_hours
Revises: m008_attribution
"""

from __future__ import annotations

from store.server.columns import number, table, text

revision = "m010_usage_hours"
down_revision = "m008_attribution"


def upgrade() -> None:
    """A table. A key of MySQL's has 3072 bytes at most, and a character up to four."""
    figures = (
        *("calls", "refused", "failed", "unreported", "unpriced"),
        *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens"),
        *("milliseconds", "nano_usd"),
    )
    table(
        "usage_hours",
        number("hour"),
        text("project_id", length=64),
        text("token_id", length=64),
        text("user_id", length=200),
        text("model", length=200),
        text("endpoint", length=100),
        *(number(name, default=0) for name in figures),
        key=["hour", "project_id", "user_id", "token_id", "model", "endpoint"],
    )
