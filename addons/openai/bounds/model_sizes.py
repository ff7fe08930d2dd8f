"""Know what a model reads and writes at most: its context window, and its longest answer.

By family, from the model pages of OpenAI's documentation (https://developers.openai.com/api/docs/models). For
bounds: a figure may be too large, never too small. Tests hold the windows against those of genai-prices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from addons.openai.vocabulary import normalise


@dataclass(frozen=True, slots=True)
class Sizes:
    """Holds sizes in tokens."""

    window: int
    """Input and output together."""
    output: int
    """It is that of one choice, reasoning included."""


LARGEST = Sizes(1_050_000, 272_000)
"""It is that of a model that is not known here: no model of the table has more."""

# (pattern of the model's name, sizes); the first match counts.
FAMILIES: tuple[tuple[re.Pattern[str], Sizes], ...] = (
    (re.compile(r"gpt-oss"), Sizes(131_072, 131_072)),
    (re.compile(r"gpt-4o.*-transcribe"), Sizes(16_000, 2_000)),
    (re.compile(r"gpt-4o.*-realtime|gpt-realtime(?!-\d)"), Sizes(32_000, 4_096)),
    (re.compile(r"gpt-realtime-\d"), Sizes(128_000, 128_000)),
    (re.compile(r"gpt-4o|chatgpt-4o|gpt-audio|gpt-4\.5"), Sizes(128_000, 16_384)),
    (re.compile(r"gpt-4\.1"), Sizes(1_047_576, 32_768)),
    (re.compile(r"gpt-4-32k"), Sizes(32_768, 32_768)),
    (re.compile(r"gpt-4-(?:turbo|vision|1106|0125)"), Sizes(128_000, 4_096)),
    (re.compile(r"gpt-4(?:$|-0[36])"), Sizes(8_192, 8_192)),
    (re.compile(r"gpt-3\.5"), Sizes(16_385, 4_096)),
    (re.compile(r"o1-(?:mini|preview)"), Sizes(128_000, 65_536)),
    (re.compile(r"o\d|codex-mini"), Sizes(200_000, 100_000)),
    (re.compile(r"computer-use"), Sizes(8_192, 1_024)),
    (re.compile(r"gpt-5-pro"), Sizes(400_000, 272_000)),
    (re.compile(r"gpt-5(?:\.\d+)?-chat|gpt-chat"), Sizes(128_000, 16_384)),
    (re.compile(r"gpt-5(?:$|-|\.[1-3](?!\d))|gpt-5\.\d+-(?:mini|nano)"), Sizes(400_000, 128_000)),
    (re.compile(r"gpt-(?:5\.|[6-9]|\d\d)"), Sizes(1_050_000, 128_000)),
    (re.compile(r"(?:davinci|babbage)-002"), Sizes(16_384, 16_384)),
)


def of(model: str | None) -> Sizes:
    """Give the sizes of a model by the family that its name tells.

    >>> of("gpt-4o-mini-2024-07-18"), of("ft:gpt-4.1-mini:acme::1").output
    (Sizes(window=128000, output=16384), 32768)
    """
    name = normalise(model or "")
    return next((sizes for pattern, sizes in FAMILIES if pattern.match(name)), LARGEST)
