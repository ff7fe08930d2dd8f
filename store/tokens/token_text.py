"""Make the text of a proxy token, and what is kept of it."""

from __future__ import annotations

import hashlib
import secrets

SHOWN = 6
"""Characters of a token's text, behind the prefix, that are kept in the clear."""
TOKEN_BYTES = 32
"""Random bytes in a token: enough that a plain SHA-256 cannot be reversed by guessing."""


def new(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(TOKEN_BYTES)


def fingerprint(text: str) -> str:
    """Give the SHA-256 of a token's text, in hexadecimal: all that is stored of it.

    It is what tokens are looked up by. How long a look-up takes tells at most of hashes, which nobody can
    choose: of the text itself there is nothing that could be guessed piece by piece.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shown(text: str, prefix: str) -> str:
    """Give its first characters, to tell tokens apart."""
    return text[: len(prefix) + SHOWN]
