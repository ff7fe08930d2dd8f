"""Bound what a client may send or hold (options ``llm_head_limit``, ``llm_body_limit``, ...)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds every client, whatever its token allows."""

    connections: int = 500
    """It is that of one address; 0: any number."""
    head_bytes: int = 64 * 1024
    head_seconds: int = 60
    """For a head to be complete, and between two pieces of a body."""
    body_bytes: int = 64 * 2**20
    """It is that of a body that is kept whole, which is any but an upload's."""
    message_bytes: int = 16 * 2**20
    """It is that of one message on a WebSocket; the API takes 15 MiB."""
    body_seconds: int = 600
