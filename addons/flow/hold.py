"""Hold amounts of budgets and rates for a call until it is settled."""

from __future__ import annotations

from dataclasses import dataclass

from addons.openai.bounds.usage_bound import UsageBound


@dataclass(frozen=True, slots=True)
class Hold:
    """Holds amounts that are reserved before a call goes upstream; zero where nothing is limited."""

    tokens: int = 0
    nano_usd: int = 0
    output_tokens: int = 0
    """It is that of `tokens`, about."""
    most: UsageBound | None = None
    """Set where the call may come to use more than it holds."""
    most_nano_usd: int | None = None
    """The price of that; None where it is not known."""

    @property
    def upper_bound(self) -> tuple[int, int]:
        """Give the tokens and nano-USD that the call can use at most; 0 where nothing bounds them."""
        if self.most is None:
            return self.tokens, self.nano_usd
        return (0, 0) if self.most.unbounded else (self.most.tokens, self.most_nano_usd or 0)


NOTHING = Hold()
