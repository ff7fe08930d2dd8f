"""Count tokens of texts, with bounds on what hostile text can cost."""

from __future__ import annotations

import re

from addons.openai import vocabulary
from addons.openai.counting.tally import Approximate, by_length

BUDGET = 4_000_000
"""Characters encoded for one call: a million tokens of prose, more than most models take. Prose runs at 10 to
40 MB/s, the worst text (random letters without a blank) at 1 MB/s."""
PIECE = 100_000
"""Characters given to tiktoken at a time: from some 600,000 blanks in a row on, its pattern overflows a
stack, which reaches Python as an exception that is no `Exception`."""

_BOUNDARY = re.compile(r"[a-z](?= [a-z])")
"""Before a blank between two words a token always ends, in every vocabulary."""


class Tokenizer:
    """Counts the texts of one call with the vocabulary of its model, as far as the budget goes."""

    def __init__(self, model: str | None, budget: int = BUDGET) -> None:
        name, self._known_model = vocabulary.encoding_name(model)
        self._encoding = vocabulary.load(name)
        self._over_budget = False
        self._left = budget

    def doubts(self) -> dict[Approximate, None]:
        """Say why its figures are not exact, if they are not."""
        reasons: dict[Approximate, bool] = {
            "vocabulary": self._encoding is None,
            "model": not self._known_model,
            "too_large": self._over_budget,
        }
        return dict.fromkeys(code for code, holds in reasons.items() if holds)

    def __call__(self, text: str) -> int:
        """Give the tokens of `text`; what looks like a special token in it is plain text. Never raises."""
        if self._encoding is None:
            return by_length(text)
        if len(text) > self._left:
            self._over_budget = True
            return by_length(text)
        self._left -= len(text)
        if len(text) <= PIECE:
            return len(self._encoding.encode_ordinary(text))
        return sum(len(self._encoding.encode_ordinary(piece)) for piece in pieces(text))


class ByteCounter:
    """Counts bytes in place of tokens: never fewer, since each token stands for one byte at least."""

    def doubts(self) -> dict[Approximate, None]:
        return {}

    def __call__(self, text: str) -> int:
        return len(text.encode("utf-8", "surrogatepass"))


def pieces(text: str, length: int = PIECE) -> list[str]:
    """Cut a long text where a token ends anyway; where there is no such place, anywhere (a token more)."""
    found, start = [], 0
    while len(text) - start > length:
        end = start + length
        # A place in the last tenth will do.
        for match in _BOUNDARY.finditer(text, end - length // 10, end):
            end = match.end()
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]
