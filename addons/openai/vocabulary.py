"""Find the tokenizer's vocabularies: where they are kept, and which model uses which.

They are read from a folder and never fetched: a proxy must not wait for, or depend on, somebody else's host
while it serves. ``llmproxy tokenizers install`` fills the folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Describes one vocabulary file; its address and hash are tiktoken's own (tests compare them)."""

    name: str
    sha256: str

    @property
    def url(self) -> str:
        return f"https://openaipublic.blob.core.windows.net/encodings/{self.name}.tiktoken"

    @property
    def key(self) -> str:
        """Give the file's name in a cache folder of tiktoken."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()

    def is_in(self, folder: Path) -> bool:
        """Tell whether `folder` has the file, unaltered."""
        try:
            return hashlib.sha256((folder / self.key).read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False


VOCABULARIES = {
    vocabulary.name: vocabulary
    for vocabulary in (
        Vocabulary("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
        Vocabulary("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    )
}

NEWEST = "o200k_base"

# (pattern, encoding); the first match counts. Models that are gone (text-davinci-003, code-davinci-002,
# curie) had p50k_base and r50k_base, which are not installed: recordings of such calls are estimated.
ENCODINGS = (
    (re.compile(r"gpt-oss|gpt-4o|chatgpt-|gpt-4\.[1-9]|gpt-(?:[5-9]|\d\d)|o\d"), "o200k_base"),
    (re.compile(r"gpt-(?:audio|realtime|live|image|chat)|codex|computer-use"), "o200k_base"),
    (re.compile(r"gpt-4|gpt-3\.5|text-embedding-|davinci-002|babbage-002"), "cl100k_base"),
)


def cache_folder() -> Path:
    """Give ``TIKTOKEN_CACHE_DIR``, else ``$LLMPROXY_CACHE/tiktoken``, else ``~/.cache/llmproxy/tiktoken``."""
    if folder := os.environ.get("TIKTOKEN_CACHE_DIR"):
        return Path(folder)
    cache = os.environ.get("LLMPROXY_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "llmproxy") / "tiktoken"


def normalise(model: str) -> str:
    """Give the base model's name: without case, provider prefix, or the parts that fine-tuning adds.

    >>> normalise("ft:gpt-4.1-mini-2025-04-14:acme::BkaILRSh")
    'gpt-4.1-mini-2025-04-14'
    """
    return _kept(model) if len(model) <= LONGEST_KEPT else _normalise(model)


def _normalise(model: str) -> str:
    name = model.lower().rpartition("/")[2]
    if name.startswith("ft:"):
        name = name[3:].partition(":")[0]
    if re.match(r"(?:davinci|babbage):\d", name):  # the internal names of the -002 models
        name = name.partition(":")[0] + "-002"
    name = re.sub(r"^gpt-35(?!\d)", "gpt-3.5", name)  # Azure's spelling
    return name.partition(":")[0]


# Asked for a dozen times in each call. The names come from clients, so only short ones are kept.
LONGEST_KEPT = 200
_kept = lru_cache(maxsize=1024)(_normalise)


def encoding_name(model: str | None) -> tuple[str, bool]:
    """Give the encoding of a model, and whether that is known rather than assumed."""
    name = normalise(model or "")
    for pattern, encoding in ENCODINGS:
        if pattern.match(name):
            return encoding, True
    return NEWEST, False


_loaded: dict[str, tiktoken.Encoding | None] = {}


def loaded() -> set[str]:
    """Name the encodings that are loaded."""
    return {name for name, found in _loaded.items() if found is not None}


def load(name: str) -> tiktoken.Encoding | None:
    """Give the encoding, or None, with one warning, where its vocabulary is not installed.

    Takes 0.3 s, once.
    """
    if name not in _loaded:
        _loaded[name] = _load(name)
    return _loaded[name]


def is_loaded(model: str | None) -> bool:
    """Tell whether the vocabulary of a model is there, or known to be missing: then nothing waits for it."""
    return encoding_name(model)[0] in _loaded


def _load(name: str) -> tiktoken.Encoding | None:
    folder = cache_folder()
    vocabulary = VOCABULARIES[name]
    # tiktoken would fetch a file that is missing or altered.
    if not vocabulary.is_in(folder):
        logger.warning(
            "llmproxy: the vocabulary %s is not in %s, so tokens are estimated where the API reports none; "
            "run `llmproxy tokenizers install`.",
            name,
            folder,
        )
        return None
    import tiktoken  # noqa: PLC0415 - a start that fails, or counts nothing, does not need it

    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding(name)
