"""What the model of the ledger is made of: calls as it knows them, and the limits that they meet."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from store.ledger import ReservationRequest
from store.tokens.amounts import USD
from store.tokens.calendar import PERIODS
from store.tokens.limits import Limits
from store.tokens.store import TokenStore

AMOUNTS = st.integers(0, 2) | st.integers(0, 60)
FEW = st.none() | st.integers(1, 6)
BUDGETS = {
    "usd": st.dictionaries(st.sampled_from(PERIODS), st.sampled_from(["0.0000001", "0.00000025"])),
    "tokens": st.dictionaries(st.sampled_from(PERIODS), st.integers(50, 300)),
}
LIMITS = st.fixed_dictionaries(
    {
        "requests_per_minute": FEW,
        "tokens_per_minute": st.none() | st.integers(50, 200),
        "max_concurrent": FEW,
        "budgets": st.fixed_dictionaries({}, optional=BUDGETS),
    }
)


@dataclass(eq=False)
class Call:
    """A call as the model knows it."""

    ask: ReservationRequest
    at: float
    worker: int | None
    """None once that has died."""
    tokens: int
    nano_usd: int
    expires: int
    running: bool = True
    open: bool = True
    gone: bool = False
    """Whether its hold is so old that it was removed."""
    rated: bool = True
    """Whether it counts in the rates."""
    rate_tokens: int = 0
    spent: tuple[int, int, int] | None = None
    """Hour, tokens and nano-USD, once it is settled."""

    def amount(self, takes: str) -> int:
        return self.nano_usd if takes == USD else self.tokens


def is_of(call: Call, subject: str) -> bool:
    return subject in (call.ask.grant.token.id, call.ask.grant.project.id)


def budgets(each: Limits) -> list[tuple[str, str, int]]:
    return [(budget.unit, budget.period, budget.amount) for budget in each.budgets]


@cache
def template() -> Path:
    """A store with a project; to be copied, as making one takes long."""
    path = Path(tempfile.mkdtemp()) / "store.db"
    store = TokenStore.open(path)
    store.create_project("acme", "env:KEY")
    store.close()
    return path
