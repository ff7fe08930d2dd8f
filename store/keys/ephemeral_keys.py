"""Make ephemeral keys of our own: clients get them in the place of a secret that the API made for them.

Realtime and ChatKit hand out secrets that open sessions at the API directly, past every limit and record. The
proxy keeps such a secret to itself: the client gets the secret encrypted, together with whose it is and until
when, and only a proxy with the same master key can make a session of that. Nothing is stored, so it holds for
every proxy on the store, and after a restart.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.database.location import Place, StoreLocation
from store.keys import master_key
from store.keys.master_key import NONCE_BYTES, MasterKey, MasterKeys

PREFIX = "ek_llmp_"
PURPOSE = "ephemeral keys v1"
ID_BYTES = 4
LONGEST = 4096
"""Characters; a longer text is none of ours."""
RETRY_SECONDS = 5.0
"""It says how often at most the master key is read again for a text that names another one."""


@dataclass(frozen=True, slots=True)
class EphemeralKey:
    """Holds a secret that the API made, and for whom."""

    secret: Secret
    fingerprint: str
    """It is that of the proxy token that asked for it: what ends that token ends this as well."""
    expires_at: int
    """Seconds since the epoch, after which no session begins with it."""
    host: str
    """Whom the client asked: the secret goes nowhere else."""
    opens: str
    """It is what it is for: realtime or chatkit."""
    model: str | None = None
    """It is that of the session that it opens."""


class EphemeralKeyMaker:
    """Seals and opens, with the store's master key. For any thread but the event loop's: it reads a file."""

    def __init__(self, store: Place) -> None:
        self._store = StoreLocation.of(store)
        self._masters: MasterKeys | None = None
        self._read_at = -RETRY_SECONDS
        self._loading = threading.Lock()

    def check(self) -> None:
        """See that :meth:`seal` will do. Raises KeyUnavailable."""
        self._primary()

    def seal(self, minted: EphemeralKey) -> Secret:
        """Give the text for the client. Raises KeyUnavailable where there is no master key."""
        master = self._primary()
        body = {
            "s": minted.secret.reveal(),
            "f": minted.fingerprint,
            "e": minted.expires_at,
            "h": minted.host,
            "o": minted.opens,
            "m": minted.model,
        }
        nonce = secrets.token_bytes(NONCE_BYTES)
        name = bytes.fromhex(master.id)
        sealed = AESGCM(master.derive(PURPOSE)).encrypt(nonce, json.dumps(body).encode(), name)
        return Secret(PREFIX + base64.urlsafe_b64encode(name + nonce + sealed).decode().rstrip("="))

    def open(self, text: str) -> EphemeralKey | None:
        """Give what was sealed; None for a text that is none of ours. Expired ones open too."""
        if not text.startswith(PREFIX) or len(text) > LONGEST:
            return None
        body = text.removeprefix(PREFIX)
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        name, rest = raw[:ID_BYTES], raw[ID_BYTES:]
        master = self._named(name.hex())
        if master is None or len(rest) <= NONCE_BYTES:
            return None
        try:
            opened = AESGCM(master.derive(PURPOSE)).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], name)
        except InvalidTag:
            return None
        found = json.loads(opened)
        return EphemeralKey(Secret(found["s"]), found["f"], found["e"], found["h"], found["o"], found["m"])

    def _primary(self) -> MasterKey:
        """Give the key to seal with, as it is now: what was known before may have been rotated away."""
        masters = master_key.load(self._store)
        if masters is None:
            raise KeyUnavailable(
                f"there is no master key for {self._store}, which ephemeral keys are sealed with; "
                "`llmproxy keys init` makes one."
            )
        return masters.primary

    def _named(self, key_id: str) -> MasterKey | None:
        """Give a known master key; the keys are read anew, now and then, where it is not among them."""
        with self._loading:
            known = self._masters is not None and self._masters.knows(key_id)
            if not known and time.monotonic() - self._read_at >= RETRY_SECONDS:
                self._read_at = time.monotonic()
                self._masters = master_key.load(self._store)
            masters = self._masters
        return next((key for key in masters.keys if key.id == key_id), None) if masters else None
