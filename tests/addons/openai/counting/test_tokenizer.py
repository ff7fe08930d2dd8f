"""Texts that would take long, or break the tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.counting import tokenizer
from addons.openai.counting.tokenizer import ByteCounter, Tokenizer, pieces
from tests.vocabularies import count, needs_vocabularies

pytestmark = needs_vocabularies()


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
@pytest.mark.parametrize("letter", ["a", " ", "\t", "\n", "\xa0", "\0", "é", "😀", "\ud800", "!"])
def test_a_megabyte_of_one_letter(model: str, letter: str) -> None:
    """A million blanks make tiktoken overflow a stack, which would end the thread."""
    n = Tokenizer(model)
    assert 0 < n(letter * 1_000_000) <= 2_000_000
    assert not n.doubts()


def test_long_prose_is_cut_without_a_difference() -> None:
    text = "It was the best of times, it was the worst of times.\n" * 10_000
    assert Tokenizer("gpt-4o")(text) == count(text)
    assert len(pieces(text)) == 6


@given(st.text(alphabet="ab .\n1é"), st.integers(10, 40))
def test_pieces_are_the_text(text: str, length: int) -> None:
    assert "".join(pieces(text, length)) == text
    assert all(len(piece) <= length for piece in pieces(text, length))


@given(st.lists(st.text(alphabet="ab'SX", max_size=9).map(lambda word: word + "a b"), max_size=30))
def test_a_cut_between_words_costs_nothing(words: list[str]) -> None:
    n, text = Tokenizer("gpt-4o"), " ".join(words)
    assert sum(map(n, pieces(text, 200))) == n(text)


@given(st.text())
def test_any_text_has_as_many_tokens_as_tiktoken_says(text: str) -> None:
    assert Tokenizer("gpt-4o")(text) == count(text)


def test_special_tokens_are_text() -> None:
    assert Tokenizer("gpt-4o")("<|endoftext|>") == 7


def test_over_its_budget_a_text_is_estimated() -> None:
    n = Tokenizer("gpt-4o", budget=100)
    assert n("word " * 20) == 21
    assert (n("four"), n("x" * 41), list(n.doubts())) == (1, 11, ["too_large"])


def test_doubts() -> None:
    assert list(Tokenizer("gpt-4o").doubts()) == []
    assert list(Tokenizer("llama-99").doubts()) == ["model"]
    assert list(Tokenizer("text-davinci-003").doubts()) == ["model"]
    assert tokenizer.BUDGET >= 4_000_000


@pytest.mark.parametrize("text", ["", "plain", "é😀", "\ud800"])
def test_bytes_stand_in_for_tokens_and_are_never_fewer(text: str) -> None:
    n = ByteCounter()
    assert n(text) >= Tokenizer("gpt-4o")(text)
    assert n(text) == len(text.encode("utf-8", "surrogatepass"))
    assert n.doubts() == {}
