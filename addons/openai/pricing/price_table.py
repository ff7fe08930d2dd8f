"""List prices that genai-prices does not have, or has wrong.

Kept by hand: few, each with its source and date.

Source, where nothing else is named: OpenAI's price list (https://developers.openai.com/api/docs/pricing) as
it stood on the date of :data:`SOURCE`. Keys are those of genai-prices: US dollars per million tokens
(``mtok``), per million characters (``mchars``), per hour (``hours``), per thousand (``kcount``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

SOURCE = "table/2026-11-25"
"""It is what `price_source` says where a price is from here."""


def _rates(**rates: str) -> Mapping[str, Decimal]:
    return {key: Decimal(value) for key, value in rates.items()}


MODELS: Mapping[str, Mapping[str, Decimal]] = {
    # Billed by time or by characters; releases of genai-prices for Python 3.11 do not know these units.
    "whisper-1": _rates(audio_hours="0.36"),
    "tts-1": _rates(input_mchars="15"),
    "tts-1-hd": _rates(input_mchars="30"),
    # genai-prices has the audio of these at the price of text.
    "gpt-4o-audio-preview-2024-10-01": _rates(input_audio_mtok="100", output_audio_mtok="200"),
    "gpt-4o-audio-preview": _rates(input_audio_mtok="40", output_audio_mtok="80"),
    "gpt-4o-mini-audio-preview": _rates(input_audio_mtok="10", output_audio_mtok="20"),
    # Of 17 November 2026: https://developers.openai.com/api/docs/models/gpt-6.2-sol
    "gpt-6.2-sol": _rates(input_mtok="2", cache_read_mtok="0.1", cache_write_mtok="2.5", output_mtok="10"),
    # Fine-tuned models: missing, or without the price of cached input.
    "ft:gpt-4.1-2025-04-14": _rates(input_mtok="3", cache_read_mtok="0.75", output_mtok="12"),
    "ft:gpt-4.1-mini-2025-04-14": _rates(input_mtok="0.8", cache_read_mtok="0.2", output_mtok="3.2"),
    "ft:gpt-4.1-nano-2025-04-14": _rates(input_mtok="0.2", cache_read_mtok="0.05", output_mtok="0.8"),
    "ft:gpt-4o-2024-08-06": _rates(input_mtok="3.75", cache_read_mtok="1.875", output_mtok="15"),
    "ft:gpt-4o-mini-2024-07-18": _rates(input_mtok="0.3", cache_read_mtok="0.15", output_mtok="1.2"),
    "ft:o4-mini-2025-04-16": _rates(input_mtok="4", cache_read_mtok="1", output_mtok="16"),
    "ft:davinci-002": _rates(input_mtok="12", output_mtok="12"),
    "ft:babbage-002": _rates(input_mtok="1.6", output_mtok="1.6"),
}
"""Added to, and before, the prices of genai-prices, key by key."""


def _images(quality: str, prices: Mapping[str, str]) -> dict[tuple[str, str], Decimal]:
    return {(quality, size): Decimal(price) for size, price in prices.items()}


IMAGES: Mapping[str, Mapping[tuple[str, str], Decimal]] = {
    "dall-e-2": _images("standard", {"256x256": "0.016", "512x512": "0.018", "1024x1024": "0.02"}),
    "dall-e-3": {
        **_images("standard", {"1024x1024": "0.04", "1024x1792": "0.08", "1792x1024": "0.08"}),
        **_images("hd", {"1024x1024": "0.08", "1024x1792": "0.12", "1792x1024": "0.12"}),
    },
}
"""US dollars for one image, by quality and size. The API's default is a standard image of 1024x1024."""

WEB_SEARCH_KCOUNT = Decimal(10)
WEB_SEARCH_PREVIEW_KCOUNT = Decimal(25)
"""It is that of models without reasoning; the tokens that the search brings are then free, and not in the
usage."""
FILE_SEARCH_KCOUNT = Decimal("2.5")
CONTAINERS = {
    "1g": Decimal("0.03"),
    "4g": Decimal("0.12"),
    "16g": Decimal("0.48"),
    "64g": Decimal("1.92"),
}
"""A session of 20 minutes, by memory. Since June 2026 minutes are billed, which no answer tells."""

CACHE_WRITE_12H = Decimal(2)
"""Tokens written to the cache for 12 hours cost as many times those for 30 minutes.

Source: https://developers.openai.com/api/docs/models/gpt-6.2-sol ($5 and $2.50)
"""
MODEL_ROUTER_MTOK = Decimal("0.14")
"""It is that of the input that Azure's model router reads, beside the price of the model that it chooses.

Source: https://azure.microsoft.com/pricing/details/ai-foundry-models/model-router/
"""

LEAST_SECONDS = {"groq": 10}
"""Seconds of a recording that are billed at least.

Source: https://console.groq.com/docs/speech-to-text
"""

WITHOUT_REASONING = re.compile(r"gpt-4|gpt-3\.5|chatgpt-4o|gpt-5(?:\.\d+)?-chat")

RESIDENCY = Decimal("1.1")
"""On a regional host, for models released from 5 March 2026 on.

Source: https://developers.openai.com/api/docs/guides/data-residency
"""
RESIDENCY_HOST = re.compile(r"[a-z]{2}\.api\.openai\.com")
RESIDENCY_MODELS = re.compile(r"gpt-(?:5\.(?:[4-9]|\d\d)|[6-9]|\d\d|image-2|realtime-2(?!\d)|live)")
