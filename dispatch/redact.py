"""Take what is private out of content before it leaves the machine.

A built-in pattern that has a check sum to go by (cards: Luhn, ISO/IEC 7812-1; IBAN: mod 97, ISO 13616) leaves
numbers alone that don't add up. All patterns are bounded, so that a long text takes time in proportion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dispatch.errors import Misconfigured
from store.core.credential_patterns import CREDENTIAL


@dataclass(frozen=True, slots=True)
class Pattern:
    """Describes one kind of text to take out."""

    name: str
    expression: re.Pattern[str]
    check: Callable[[str], bool] = lambda _: True


def luhn(text: str) -> bool:
    """Tell whether the digits of a card number add up."""
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Tell whether the check digits of an account number are right."""
    compact = text.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


_EMAIL = r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}\w{2,63}(?![\w-])"
_PHONE = (
    r"(?<![\w+])\+\d(?:[ ./()-]{0,2}\d){7,14}(?!\d)"  # +49 (30) 1234-5678
    r"|(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"  # (555) 123-4567
    r"|(?<![\w.+-])0\d{1,4}[ /-]\d{3,4}(?:[ -]?\d{2,5}){1,3}(?!\w)"  # 030 1234 5678
)
_IBAN = r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"
_CARD = r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])"

BUILT_IN = {
    pattern.name: pattern
    for pattern in (
        # In this order: a key or an account number may hold what looks like a telephone number.
        Pattern("key", CREDENTIAL),
        Pattern("email", re.compile(_EMAIL)),
        Pattern("iban", re.compile(_IBAN), iban),
        Pattern("card", re.compile(_CARD), luhn),
        Pattern("phone", re.compile(_PHONE)),
    )
}


class Redactor:
    """Replaces what its patterns find by ``[redacted:NAME]``, wherever it is within a JSON value."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns = tuple(patterns)

    def value(self, value: Any) -> Any:
        """Give the same value, redacted: in texts, in the names of members, and in long numbers."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**8:
            redacted = self.text(str(value))
            return value if redacted == str(value) else redacted
        return value

    def text(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.expression.sub(lambda found, by=pattern: _replaced(found, by), text)  # type: ignore[misc]
        return text


def redactor(choices: Iterable[str]) -> Redactor | None:
    """Make a redactor of built-in names, ``all`` for all of them, and ``re:EXPRESSION``.

    None where nothing is chosen.

    Raises Misconfigured for a name that does not exist, or an expression that is not one.
    """
    chosen: dict[str, Pattern] = {}
    own: list[Pattern] = []
    for choice in choices:
        if choice == "all":
            chosen |= BUILT_IN
        elif choice.startswith("re:"):
            own.append(Pattern("custom", _compiled(choice[3:])))
        elif choice in BUILT_IN:
            chosen[choice] = BUILT_IN[choice]
        else:
            names = ", ".join([*BUILT_IN, "all"])
            raise Misconfigured(f"--redact {choice}: not one of {names}, and not re:EXPRESSION.")
    patterns = own + [pattern for name, pattern in BUILT_IN.items() if name in chosen]
    return Redactor(patterns) if patterns else None


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise Misconfigured(f"--redact re:{expression}: not a regular expression: {error}.") from error
    if compiled.search(""):
        raise Misconfigured(f"--redact re:{expression}: matches the empty text, and so everywhere.")
    return compiled


def _replaced(found: re.Match[str], by: Pattern) -> str:
    return f"[redacted:{by.name}]" if by.check(found[0]) else found[0]
