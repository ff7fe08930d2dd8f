"""Say what a price is, when it holds and for which models.

Those of genai-prices are turned into these (:func:`addons.openai.pricing.prices.priced_of`): to import that
package takes 20 MB and a third of a second, which a proxy spares as long as it prices nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tier:
    """Is a price that holds above a number of input tokens."""

    start: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class TieredPrices:
    """Is a price that depends on the input: the highest step that it exceeds holds for all tokens."""

    base: Decimal
    tiers: Sequence[Tier]
    """By their start."""


Rate = Decimal | TieredPrices
Rates = Mapping[str, Rate]
"""US dollars by the price keys of genai-prices: ``input_mtok``, ``cache_read_mtok``, ``audio_hours``, ..."""


class Constraint(Protocol):
    """Says when a price holds."""

    def active(self, request_timestamp: datetime) -> bool: ...


class Match(Protocol):
    """Says which model names a price is for."""

    def is_match(self, text: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class FromDate:
    """Holds from a day on, in UTC."""

    first: date

    def active(self, request_timestamp: datetime) -> bool:
        return _in_utc(request_timestamp).date() >= self.first


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Holds each day from one time to another, which may be past midnight; in UTC unless they say another."""

    start: time
    end: time

    def active(self, request_timestamp: datetime) -> bool:
        now, start, end = _in_utc(request_timestamp).time(), _utc_time(self.start), _utc_time(self.end)
        return start <= now < end if start <= end else now >= start or now < end


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment


def _utc_time(value: time) -> time:
    return _in_utc(datetime.combine(date(2000, 1, 1), value)).time()


@dataclass(frozen=True, slots=True)
class Named:
    """Matches names without regard to case: whole, or by how they begin or end, or by a part."""

    how: str
    """equals, starts_with, ends_with or contains."""
    text: str

    def is_match(self, text: str) -> bool:
        name, wanted = text.lower(), self.text.lower()
        match self.how:
            case "starts_with":
                return name.startswith(wanted)
            case "ends_with":
                return name.endswith(wanted)
            case "contains":
                return wanted in name
        return name == wanted


@dataclass(frozen=True, slots=True)
class Pattern:
    """Matches names in which a regular expression is found."""

    regex: str

    def is_match(self, text: str) -> bool:
        return re.search(self.regex, text) is not None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches what one of these matches."""

    parts: Sequence[Match]

    def is_match(self, text: str) -> bool:
        return any(part.is_match(text) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches what all of these match."""

    parts: Sequence[Match]

    def is_match(self, text: str) -> bool:
        return all(part.is_match(text) for part in self.parts)
