"""Read and write amounts: of dollars and tokens, and of a budget, which allows one in each period."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from store.core.errors import Invalid
from store.tokens.calendar import PERIODS

NANO = 10**9
"""Money is kept in whole billionths of a dollar."""
USD, TOKENS = "usd", "tokens"
UNITS = (USD, TOKENS)

LARGEST = 2**53 - 1
"""It is that of any number: what JSON's readers take as it is."""
LARGEST_USD = 10**9 - 1


@dataclass(frozen=True, slots=True, order=True)
class Budget:
    """Allows so much of a unit in each period."""

    unit: str
    period: str
    amount: int
    """Nano-USD or tokens."""

    @property
    def name(self) -> str:
        """Name it as limits are named everywhere: ``usd/day``."""
        return f"{self.unit}/{self.period}"

    def __str__(self) -> str:
        return f"{number_text(self.unit, self.amount)}{self.unit}/{self.period}"


def whole(name: str, value: Any, *, least: int = 0) -> int:
    """Give a whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
        raise Invalid(f"{name} {str(value)[:40]!r}: use a whole number from {least} on.")
    return value


def parse_budget(text: str, *, default_period: str | None = None) -> Budget:
    """Read ``5usd/day``, ``100000tokens/month``. Without a period it is `default_period`, if there is one."""
    match = re.fullmatch(r"([0-9.]+) ?([a-z]+)(?:/([a-z]+))?", text.strip().lower())
    period = match and (match[3] or default_period)
    if not match or match[2] not in UNITS or period not in PERIODS:
        raise Invalid(
            f"budget {text[:40]!r}: write 5usd/day or 100000tokens/month; periods are {', '.join(PERIODS)}."
        )
    return Budget(match[2], period, amount_of(match[2], match[1]))


def amount_of(unit: str, value: Any) -> int:
    """Give nano-USD of dollars as a decimal (text, so that none is lost), or a number of tokens."""
    if unit == TOKENS:
        value = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        return whole("budget in tokens", value)
    try:
        dollars = Decimal(str(value))
        nano = int(dollars * NANO)
        if isinstance(value, bool) or nano != dollars * NANO or not 0 <= dollars <= LARGEST_USD:
            raise Invalid(f"budget {str(value)[:40]!r} usd: use 0 to {LARGEST_USD}, with at most 9 decimals.")
    except (InvalidOperation, ValueError, OverflowError):
        raise Invalid(f"budget {str(value)[:40]!r} usd: use a number such as 5 or 0.25.") from None
    return nano


def number_text(unit: str, amount: int) -> str:
    """Give an amount for people: dollars without needless zeros (but cents as two), tokens as they are."""
    if unit != USD:
        return str(amount)
    digits, decimals = divmod(abs(amount), NANO)
    fraction = f"{decimals:09d}".rstrip("0")
    sign = "-" if amount < 0 else ""
    return f"{sign}{digits}" + (f".{fraction:0<2}" if fraction else "")
