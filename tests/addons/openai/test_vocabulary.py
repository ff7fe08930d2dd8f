"""Vocabularies: tiktoken's own files, found where they were put, never fetched."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest
import tiktoken
import tiktoken.model
from tiktoken_ext import openai_public

from addons.openai import vocabulary


@pytest.mark.parametrize("item", vocabulary.VOCABULARIES.values(), ids=lambda item: item.name)
def test_address_and_hash_are_tiktokens_own(item: vocabulary.Vocabulary) -> None:
    source = inspect.getsource(getattr(openai_public, item.name))
    assert f'"{item.url}"' in source
    assert f'"{item.sha256}"' in source


@pytest.mark.parametrize(
    "model", [*tiktoken.model.MODEL_TO_ENCODING, *tiktoken.model.MODEL_PREFIX_TO_ENCODING]
)
def test_models_have_the_encoding_that_tiktoken_gives_them(model: str) -> None:
    theirs = (tiktoken.model.MODEL_TO_ENCODING | tiktoken.model.MODEL_PREFIX_TO_ENCODING)[model]
    if theirs not in vocabulary.VOCABULARIES and theirs != "o200k_harmony":
        return  # of models that are gone
    ours, known = vocabulary.encoding_name(model + ("x" if model.endswith("-") else ""))
    assert known
    # The harmony encoding has the ordinary one's vocabulary and other special tokens.
    assert ours == theirs.replace("o200k_harmony", "o200k_base")


@pytest.mark.parametrize(
    ("model", "encoding", "known"),
    [
        ("gpt-5.2-2026-01-01", "o200k_base", True),
        ("GPT-4o", "o200k_base", True),
        ("openai/gpt-4o-mini", "o200k_base", True),
        ("ft:gpt-3.5-turbo-0125:acme::x", "cl100k_base", True),
        ("davinci:2023-07-21-v2", "cl100k_base", True),
        ("gpt-35-turbo", "cl100k_base", True),
        ("o3-pro", "o200k_base", True),
        ("llama-3", "o200k_base", False),
        (None, "o200k_base", False),
    ],
)
def test_names_that_tiktoken_does_not_know(model: str | None, encoding: str, known: bool) -> None:
    assert vocabulary.encoding_name(model) == (encoding, known)


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("LLMPROXY_CACHE", str(tmp_path))
    assert vocabulary.cache_folder() == tmp_path / "tiktoken"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "other"))
    assert vocabulary.cache_folder() == tmp_path / "other"


def test_without_vocabularies_counts_are_estimated_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from addons.openai import tokens  # noqa: PLC0415

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(vocabulary, "_loaded", {})
    for _ in range(2):
        found = tokens.count("completions", "gpt-4o", {"prompt": "x" * 40}, {"choices": [{"text": "y" * 9}]})
    assert (found.input_tokens, found.output_tokens, found.source) == (10, 3, "estimate")
    assert len(caplog.records) == 1
    assert "llmproxy tokenizers install" in caplog.text


def test_an_altered_file_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    item = vocabulary.VOCABULARIES["cl100k_base"]
    original = vocabulary.cache_folder() / item.key
    if not original.exists():
        pytest.skip("the vocabulary cl100k_base is not installed: llmproxy tokenizers install")
    shutil.copy(original, tmp_path / item.key)
    assert item.is_in(tmp_path)
    with (tmp_path / item.key).open("ab") as file:
        file.write(b"\n")
    assert not item.is_in(tmp_path)
