"""Sealing of clinical text: AES-256-GCM, one data key per record, each wrapped by the site's key.

    site key (environment) ── HKDF ──► wrapping key ──► wraps data keys (table data_keys)
                                  └──► digest key   ──► keyed digests of the source's own ids
    data key (one a record) ──► seals that vignette and all that was said about it

Destroying one row of data_keys erases its texts; numbers stay.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import uuid
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import SettingsError

_NONCE = 12  # bytes, NIST SP 800-38D section 5.2.1.1


def _encrypt(key: bytes, plain: bytes, bound_to: uuid.UUID) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to.bytes)


def _decrypt(key: bytes, sealed: bytes, bound_to: uuid.UUID) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.bytes)


@dataclass(frozen=True, repr=False)
class DataKey:
    """One record's key: `id` is its row in data_keys."""

    id: uuid.UUID
    secret: bytes

    def seal(self, text: str, document_id: uuid.UUID) -> bytes:
        """The text's ciphertext, bound to its document's id: a row moved elsewhere does not open."""
        return _encrypt(self.secret, text.encode(), document_id)

    def open(self, sealed: bytes, document_id: uuid.UUID) -> str:
        """The text of a sealed document. Raises `cryptography.exceptions.InvalidTag` if it was altered."""
        return _decrypt(self.secret, sealed, document_id).decode()


class SiteKey:
    """The site's key, from 32 bytes in base64. Raises `SettingsError` if it is not that."""

    def __init__(self, encoded: str) -> None:
        try:
            secret = base64.b64decode(encoded, validate=True)
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise SettingsError(
                "CONSILIUM_SITE_KEY is not 32 bytes in base64; make one with: openssl rand -base64 32"
            )
        self._wrapping = _derive(secret, b"consilium wrapping")
        self._digesting = _derive(secret, b"consilium digests")
        self.id = hashlib.sha256(self._wrapping).hexdigest()[:16]

    def new_data_key(self, key_id: uuid.UUID) -> tuple[DataKey, bytes]:
        """A fresh data key and its wrapped form for the row."""
        key = DataKey(key_id, AESGCM.generate_key(256))
        return key, _encrypt(self._wrapping, key.secret, key_id)

    def unwrap(self, key_id: uuid.UUID, wrapped: bytes) -> DataKey:
        """The data key of a row. Raises `SettingsError` if it was wrapped by another site key."""
        try:
            return DataKey(key_id, _decrypt(self._wrapping, wrapped, key_id))
        except InvalidTag:
            raise SettingsError(
                "a data key does not open with CONSILIUM_SITE_KEY: another site key wrote this database"
            ) from None

    def digest(self, *parts: str) -> bytes:
        """Keyed digest (HMAC-SHA256, 32 bytes): equal for equal parts, tells nothing without the key."""
        mac = hmac.new(self._digesting, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode()
            mac.update(len(data).to_bytes(8, "big") + data)
        return mac.digest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(secret)


def new_site_key() -> str:
    """A fresh site key, encoded as the setting wants it."""
    return base64.b64encode(os.urandom(32)).decode()
