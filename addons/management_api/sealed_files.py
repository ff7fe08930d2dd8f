"""Keep small things in files that nobody can read but who has their names."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.core.errors import StoreUnavailable
from store.core.private_files import make_folder, open_private

NONCE = 12
NOTED = 60.0
"""Seconds, how exactly the last use is known."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Holds what was found."""

    content: Mapping[str, Any]
    began: float
    used: float


class SealedFiles:
    """Is a folder that several processes share. Methods do disk I/O: not for the event loop.

    Several proxies may share a port (``llmproxy serve``), and any of them may get the next request. So each
    thing is a file, named after a hash of its random name, and encrypted by a key that comes from that name,
    too. Without it nobody can read the file, not even who can read the folder.
    """

    def __init__(self, folder: Path, idle: float, most: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._idle = idle
        self._most = most
        self._clock = clock

    def put(self, content: Mapping[str, Any]) -> str:
        """Keep something; returns its name. Raises StoreUnavailable."""
        name, now = secrets.token_urlsafe(32), self._clock()
        nonce = os.urandom(NONCE)
        text = json.dumps({**content, "began": now}).encode()
        path = self._path(name)
        try:
            make_folder(self._folder, parents=True)
            self._clear(now)
            fresh = path.with_suffix(".new")
            with open_private(fresh, "wb") as file:
                file.write(nonce + AESGCM(_key(name)).encrypt(nonce, text, None))
            os.utime(fresh, (now, now))
            fresh.replace(path)
        except OSError as error:
            raise StoreUnavailable(
                f"no session can be kept in {self._folder}: {error.strerror}; mend that, then sign in."
            ) from error
        return name

    def get(self, name: str) -> Kept | None:
        """Return what has this name, and note its use; None where there is nothing, or no longer."""
        path, now = self._path(name), self._clock()
        try:
            sealed, used = path.read_bytes(), path.stat().st_mtime
            content = json.loads(AESGCM(_key(name)).decrypt(sealed[:NONCE], sealed[NONCE:], None))
            if now - used >= self._idle:
                path.unlink(missing_ok=True)
                return None
            if now - used >= NOTED:
                os.utime(path, (now, now))
        except (OSError, InvalidTag, ValueError):
            return None
        return Kept(content, content["began"], used)

    def take(self, name: str) -> Kept | None:
        """Return what has this name, and remove it: of several who ask at the same time one gets it."""
        found = self.get(name)
        try:
            self._path(name).unlink()
        except OSError:
            return None
        return found

    def remove(self, name: str) -> None:
        """Let go of it, if it is there."""
        with contextlib.suppress(OSError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / _hash(b"file", name).hex()

    def _clear(self, now: float) -> None:
        """Remove what has ended, and what is too much."""
        found = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                found.append((path.stat().st_mtime, path))
        many = len(found) - self._most + 1
        for number, (used, path) in enumerate(sorted(found)):
            if number < many or now - used >= self._idle:
                path.unlink(missing_ok=True)


def _key(name: str) -> bytes:
    return _hash(b"key", name)


def _hash(purpose: bytes, name: str) -> bytes:
    return hashlib.sha256(purpose + b":" + name.encode("utf-8", "surrogatepass")).digest()
