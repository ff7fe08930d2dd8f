"""Metadata of projects, and the names of metadata that clients may add by a header.

Revision ID: m008_attribution
Revises: m006_limits
"""

from __future__ import annotations

from store.server.columns import column, document, revision_trigger

revision = "m008_attribution"
down_revision = "m006_limits"


def upgrade() -> None:
    """Three columns."""
    column("projects", document("metadata", default="{}"))
    for table in ("projects", "tokens"):
        column(table, document("header_metadata", default="[]"))
    revision_trigger(
        "tokens",
        [
            *("project_id", "active", "expires_at", "max_requests", "metadata", "sha256", "limits"),
            "header_metadata",
        ],
    )
