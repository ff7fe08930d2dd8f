"""The tokenizer's vocabularies, where they are installed; without them the tests of counting are skipped."""

from __future__ import annotations

import pytest

from addons.openai import vocabulary


def needs_vocabularies() -> pytest.MarkDecorator:
    """For a module or a test that counts."""
    folder = vocabulary.cache_folder()
    missing = [item.name for item in vocabulary.VOCABULARIES.values() if not item.is_in(folder)]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)} not installed: llmproxy tokenizers install"
    )


def count(text: str, name: str = "o200k_base") -> int:
    """What tiktoken itself says."""
    encoding = vocabulary.load(name)
    assert encoding is not None
    return len(encoding.encode(text, disallowed_special=()))
