"""Read what of a request decides what becomes of its answer, and which objects come with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FLAGS = ("background", "store")
PLAIN = re.compile(r"[\w.-]{1,40}")
"""It is what names a tier: such a text is kept with the object."""


def switches(value: Any) -> dict[str, Any]:
    """Give these members of a request's JSON; none of what is no object.

    Tier and window are what the later calls that show the usage of a background response do not tell of its
    price; `audio` is set where the answer may be sound, which later messages name by its id.

    >>> switches({"store": True, "service_tier": "flex", "input": "hi", "modalities": ["text", "audio"]})
    {'store': True, 'service_tier': 'flex', 'audio': True}
    """
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, Any] = {name: value[name] for name in FLAGS if isinstance(value.get(name), bool)}
    if _is_plain(tier := value.get("service_tier")):
        found["service_tier"] = tier
    options = value.get("background_options")
    if isinstance(options, Mapping) and _is_plain(window := options.get("completion_window")):
        found["background_options"] = {"completion_window": window}
    modalities = value.get("modalities")
    if value.get("audio") or (isinstance(modalities, list) and "audio" in modalities):
        found["audio"] = True
    return found


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and PLAIN.fullmatch(value) is not None
