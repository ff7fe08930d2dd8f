"""Find the master key that encrypts the projects' keys, where it is kept.

It is looked for in ``LLMPROXY_MASTER_KEY`` (the key itself), then in the file that
``LLMPROXY_MASTER_KEY_FILE`` names, then in the file beside the store (``store.db`` -> ``store.key``). Either
may hold several keys, the one to encrypt with first: while keys are rotated both the new and the old one are
known, so that proxies go on.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from store.core.errors import Conflict, KeyUnavailable
from store.core.private_files import make_folder, sync_folder
from store.core.secret import Secret
from store.database.location import Place, StoreLocation

VARIABLE = "LLMPROXY_MASTER_KEY"
FILE_VARIABLE = "LLMPROXY_MASTER_KEY_FILE"
KEY_BYTES = 32
NONCE_BYTES = 12
"""Random; NIST SP 800-38D, 8.3 allows 2**32 encryptions under one key that way."""
SCHEME = "aesgcm:v1"
MAKE_ONE = "`openssl rand -base64 32` makes one"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Holds one key of 256 bits."""

    id: str
    """Eight hexadecimal digits of its hash: tells keys apart, and nothing about them."""
    secret: Secret = field(repr=False)
    """In base64."""

    @classmethod
    def parse(cls, text: str, where: str) -> MasterKey:
        """Read a master key. Raises KeyUnavailable; the text is never part of the message."""
        try:
            # Both alphabets of base64, with or without padding.
            body = text.rstrip("=").translate(_STANDARD)
            raw = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != KEY_BYTES:
            raise KeyUnavailable(
                f"{where} holds no master key: it is {KEY_BYTES} bytes as base64; {MAKE_ONE}."
            )
        name = hashlib.sha256(b"llmproxy master key\0" + raw).hexdigest()[:8]
        return cls(name, Secret(base64.b64encode(raw).decode()))

    @classmethod
    def new(cls) -> MasterKey:
        return cls.parse(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(), "a new key")

    def seal(self, project_id: str, key: Secret) -> str:
        """Encrypt `key`, as the store keeps it. It opens for this project only."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(nonce, key.reveal().encode(), self._bound_to(project_id))
        return f"{SCHEME}:{self.id}:{base64.b64encode(sealed).decode()}"

    def open(self, project_id: str, sealed: str) -> Secret:
        """Undo :meth:`seal`. Raises KeyUnavailable where `sealed` was changed or is another project's."""
        try:
            raw = base64.b64decode(sealed.rpartition(":")[2], validate=True)
            opened = self._cipher().decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], self._bound_to(project_id))
        except (InvalidTag, ValueError) as error:
            raise KeyUnavailable(
                f"the encrypted key of project {project_id} is damaged, or another project's; "
                "set it anew with `llmproxy project update`."
            ) from error
        return Secret(opened.decode())

    def derive(self, purpose: str) -> bytes:
        """Give a key of 256 bits for another purpose than the projects' keys (HKDF, RFC 5869)."""
        raw = base64.b64decode(self.secret.reveal())
        return HKDF(SHA256(), KEY_BYTES, None, f"llmproxy {purpose}".encode()).derive(raw)

    def _cipher(self) -> AESGCM:
        return AESGCM(base64.b64decode(self.secret.reveal()))

    def _bound_to(self, project_id: str) -> bytes:
        """Give the associated data: copied to another project's row, a key does not open."""
        return f"{SCHEME}:{self.id}:{project_id}".encode()


_STANDARD = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """Holds the keys that are known here, the one to encrypt with first."""

    keys: tuple[MasterKey, ...]
    where: str
    """The variable or the file, for messages."""
    file: Path | None
    """None: the keys are in the environment, and can't be changed from here."""

    @property
    def primary(self) -> MasterKey:
        return self.keys[0]

    def knows(self, key_id: str) -> bool:
        return any(key.id == key_id for key in self.keys)

    def open(self, project_id: str, sealed: str) -> Secret:
        """Decrypt a project's key. Raises KeyUnavailable."""
        wanted = key_id_of(sealed)
        for key in self.keys:
            if key.id == wanted:
                return key.open(project_id, sealed)
        raise KeyUnavailable(self.wrong(wanted))

    def wrong(self, wanted: str) -> str:
        known = ", ".join(key.id for key in self.keys)
        return (
            f"the master key is wrong: keys in the store are encrypted with {wanted}, "
            f"{self.where} holds {known}."
        )


def key_id_of(sealed: str) -> str:
    """Give the id of the master key that `sealed` was encrypted with."""
    return sealed[len(SCHEME) + 1 :].partition(":")[0]


def missing(store: Place) -> str:
    """Give what to say where keys are encrypted and there is no master key."""
    file = beside(store)
    return (
        f"the master key is missing: keys in {store} are encrypted, and neither {VARIABLE} nor "
        f"{FILE_VARIABLE} is set" + (f", nor is there a file {file}." if file else ".")
    )


def beside(store: Place) -> Path | None:
    """Give where the key is that was made without being asked where: next to the file, not to a link to it.

    None for a store on a server: nobody would look for its key on the machine that made it.
    """
    path = StoreLocation.of(store).path
    if path is None:
        return None
    path = path.resolve()
    return path.with_name(f"{path.name}.key") if path.suffix == ".key" else path.with_suffix(".key")


def load(store: Place) -> MasterKeys | None:
    """Give the keys for this store; None where nobody has made any. Raises KeyUnavailable."""
    text, named = os.environ.get(VARIABLE), os.environ.get(FILE_VARIABLE)
    if text and named:
        raise KeyUnavailable(f"{VARIABLE} and {FILE_VARIABLE} are both set; keep one.")
    if text:
        return _parse(text.replace(",", "\n"), VARIABLE, None)
    file = Path(named).expanduser() if named else beside(store)
    if file is None:
        return None
    try:
        return _parse(file.read_text(), str(file), file)
    except FileNotFoundError as error:
        if named is None or named == "":
            return None
        raise KeyUnavailable(
            f"{FILE_VARIABLE}: there is no file {file}; `llmproxy keys init` makes it."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(f"the master key can't be read: {file}: {error}") from error


def _parse(text: str, where: str, file: Path | None) -> MasterKeys:
    lines = [line.strip() for line in text.splitlines()]
    keys = tuple(MasterKey.parse(line, where) for line in lines if line and not line.startswith("#"))
    if not keys:
        raise KeyUnavailable(f"{where} holds no master key; {MAKE_ONE}.")
    return MasterKeys(keys, where, file)


def make(store: Place) -> MasterKeys:
    """Make a key in the file where :func:`load` looks. Raises Conflict where there is one already."""
    if os.environ.get(VARIABLE):
        raise Conflict(f"{VARIABLE} holds the master key already; unset it to have one in a file.")
    named = os.environ.get(FILE_VARIABLE)
    file = Path(named).expanduser() if named else beside(store)
    if file is None:
        raise KeyUnavailable(
            f"the master key is missing: for {store} it is not made by itself, because every proxy needs it. "
            f"Set {VARIABLE} ({MAKE_ONE}), or {FILE_VARIABLE} and run `llmproxy keys init`."
        )
    keys = (MasterKey.new(),)
    aside = _written_aside(file, keys)
    try:
        os.link(aside, file)  # unlike a rename, this never takes the place of a key
    except FileExistsError as error:
        raise Conflict(
            f"there is a master key in {file} already; `llmproxy keys rotate` makes a new one."
        ) from error
    finally:
        aside.unlink()
    sync_folder(file.parent)
    return MasterKeys(keys, str(file), file)


def replace(file: Path, keys: Sequence[MasterKey]) -> None:
    """Have `file` hold these keys; at every moment it holds either these or those before. Raises OSError."""
    _written_aside(file, keys).replace(file)
    sync_folder(file.parent)


def _written_aside(file: Path, keys: Sequence[MasterKey]) -> Path:
    """Give a new file (0600) next to `file`, on disk."""
    make_folder(file.parent, parents=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    text = "# llmproxy's master key: without it the projects' keys can't be read. Keep a copy elsewhere.\n"
    text += "".join(f"{key.secret.reveal()}\n" for key in keys)
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    return aside
