"""Describe the model that a call is counted for."""

from __future__ import annotations

from dataclasses import dataclass

from addons.openai.counting import rules
from addons.openai.counting.tokenizer import ByteCounter, Tokenizer
from addons.openai.vocabulary import normalise


@dataclass(frozen=True, slots=True)
class Model:
    """Holds a model's name, its overheads, and its tokenizer (which has one budget for the whole call)."""

    name: str
    """Normalised."""
    rules: rules.Rules
    thinks: bool
    """It tells whether it is another maker's model that thinks before it answers; not all servers show
    that."""
    n: Tokenizer | ByteCounter

    @classmethod
    def of(cls, name: str | None) -> Model:
        return cls(normalise(name or ""), rules.of(name), rules.thinks(name), Tokenizer(name))

    @classmethod
    def by_bytes(cls, name: str | None) -> Model:
        """Give a model that counts bytes in place of tokens: an upper bound, and needs no vocabulary."""
        return cls(normalise(name or ""), rules.of(name), rules.thinks(name), ByteCounter())
