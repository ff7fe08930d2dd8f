"""Add to a budget, for the period that it falls into; to `total` for ever."""

from __future__ import annotations

from math import floor

from uuid_utils import uuid7

from store.database.engine import Connection
from store.tokens.amounts import Budget


def add(connection: Connection, subject: str, budget: Budget, *, at: float) -> None:
    """Raise one budget of a token or project (its id). It counts from the next claim on."""
    row = {
        "id": str(uuid7()),
        "subject": subject,
        "unit": budget.unit,
        "period": budget.period,
        "amount": budget.amount,
        "at": floor(at),
    }
    connection.insert("topups", [row])
