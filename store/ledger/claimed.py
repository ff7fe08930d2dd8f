"""Name one user, address or label of those that a project or a token allows each something."""

from __future__ import annotations

from dataclasses import dataclass

from store.core.errors import Conflict, Invalid
from store.database.engine import Connection
from store.ledger.account import Gauge, gauges_of
from store.tokens.amounts import Budget
from store.tokens.limits import NONE, Limits
from store.tokens.models import Project, Token
from store.tokens.subjects import ADDRESS, LABEL, USER, Side, address_id, label_id, user_id

OF_PROJECT: tuple[Side, ...] = (USER.side, ADDRESS.side, LABEL.side)
OF_TOKEN: tuple[Side, ...] = (LABEL.side,)
"""It is what commands and the management API add to the budgets of."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Describes what the ledger keeps of it."""

    side: Side
    id: str
    limits: Limits
    called: str

    @classmethod
    def of(cls, owner: Project | Token, side: Side, name: str) -> Claimed:
        """Find it by the name that reports show, such as ``ada`` or ``team=search``. Raises Invalid."""
        if side == LABEL.side:
            label, divided, value = name.partition("=")
            if not divided:
                raise Invalid(f"label {name[:80]!r}: write its name and the value, such as team=search.")
            limits = owner.label_limits.get(label, NONE)
            return cls(side, label_id(owner.id, label, value), limits, f"label {label}")
        if not isinstance(owner, Project) or side not in OF_PROJECT or not name:
            raise Invalid(f"{side} {name[:80]!r}: name a user or an address of a project.")
        if side == USER.side:
            return cls(side, user_id(owner.id, name), owner.user_limits, "each user")
        return cls(side, address_id(owner.id, name), owner.address_limits, "each address")

    def check(self, budget: Budget) -> None:
        """Raise Conflict where there is no such budget to add to."""
        if self.limits.budget(budget.unit, budget.period) is None:
            has = ", ".join(each.name for each in self.limits.budgets) or "none at all"
            raise Conflict(
                f"{self.called} has no budget {budget.name} to add to (it has {has}); give it one with "
                f"`update --{self.side}-budget`."
            )

    def gauges(self, connection: Connection, now: float) -> list[Gauge]:
        """Give what is used of its limits."""
        return gauges_of(connection, self.side, self.id, self.limits, now)
