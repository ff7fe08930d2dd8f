from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.errors import Misconfigured
from dispatch.redact import BUILT_IN, Redactor, iban, luhn, redactor

ALL = Redactor(BUILT_IN.values())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "ada.lovelace+news@mail.example.co.uk"),
        ("email", "ünïcode@exämple.de"),
        ("phone", "+49 30 1234-5678"),
        ("phone", "+1 (555) 123-4567"),
        ("phone", "(555) 123-4567"),
        ("phone", "555-123-4567"),
        ("phone", "030 1234 5678"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("card", "378282246310005"),
        ("key", "sk-proj-abcDEF0123456789abcdef"),
        ("key", "sk-proxy-nY5O5_zY390BvIjNhBs6thbwg4o1GezUGDZmSAzJDoQ"),
        ("key", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "ghp_" + "a1B2" * 9),
        ("key", "Bearer abcdefghijklmnop.qrst"),
        ("key", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"),
        ("key", "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"),
    ],
)
def test_what_is_found(kind: str, text: str) -> None:
    assert ALL.text(f"before {text} after") == f"before [redacted:{kind}] after"
    assert ALL.text(f"({text})") == f"([redacted:{kind}])"
    assert Redactor([BUILT_IN[kind]]).text(text) == f"[redacted:{kind}]"


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3 of 2024-01-02 at 12:30:45.123456",
        "id 0197a3c0-0000-7000-8000-000000000001",
        "4111 1111 1111 1112",  # does not add up
        "tokens: 1234567890",
        "user@localhost",
        "sk-short",
        "https://example.com/a/b?c=1",
        "192.168.100.200",
        "0000000000000000",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert ALL.text(text) == text


def test_values_of_any_shape() -> None:
    value = {
        "a@example.com": [{"card": 4111111111111111, "n": 12345678901, "ok": True, "none": None, "x": 1.5}],
        "arguments": '{"mail": "a@example.com"}',
    }
    assert ALL.value(value) == {
        "[redacted:email]": [
            {"card": "[redacted:card]", "n": 12345678901, "ok": True, "none": None, "x": 1.5}
        ],
        "arguments": '{"mail": "[redacted:email]"}',
    }


def test_choices() -> None:
    assert redactor([]) is None
    chosen = redactor(["email", "re:PRJ-[0-9]+"])
    assert chosen is not None
    assert chosen.text("a@example.com PRJ-17 +49 30 12345678") == (
        "[redacted:email] [redacted:custom] +49 30 12345678"
    )
    everything = redactor(["all"])
    assert everything is not None
    assert everything.text("a@example.com +49 30 12345678") == "[redacted:email] [redacted:phone]"


@pytest.mark.parametrize(
    ("choice", "said"),
    [("mail", "not one of key, email"), ("re:(", "not a regular"), ("re:x*", "empty text")],
)
def test_wrong_choices(choice: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        redactor([choice])


def test_check_sums() -> None:
    assert luhn("79927398713000") is False
    assert luhn("4242424242424242")
    assert not luhn("42")
    assert iban("FR14 2004 1010 0505 0001 3M02 606")
    wrong = "DE88 3704 0044 0532 0130 00"
    assert Redactor([BUILT_IN["iban"]]).text(wrong) == wrong
    assert not iban("FR15 2004 1010 0505 0001 3M02 606")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_any_value_keeps_its_shape_and_twice_changes_nothing(value: Any) -> None:
    once = ALL.value(value)
    assert ALL.value(once) == once
    assert type(once) is type(value) or isinstance(value, int)


@pytest.mark.parametrize("piece", ["a", "a.", "1", "1 ", "+1", "@", "a@", "eyJ", "A1", "sk-", "-----BEGIN "])
@pytest.mark.timeout(120)
def test_long_texts_take_time_in_proportion(piece: str) -> None:
    """Half a second each; a quadratic pattern would take hours."""
    text = piece * (1_000_000 // len(piece))
    assert ALL.text(text)
