"""Sealing of clinical text: AES-256-GCM, one data key per record, each wrapped by the site's key.

    site key (environment) ── HKDF ──► wrapping key ──► wraps data keys (table data_keys)
                                  └──► digest key   ──► keyed digests of the source's own ids
    data key (one a record) ──► seals that vignette and all that was said about it

Destroying one row of data_keys erases its texts; numbers stay. While the site's key is rotated, the previous
one opens too. Digests must stay equal for ever, so from the first rotation on the digest key is stored,
wrapped (table site_secrets).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import SealedElsewhere, SettingsError

_NONCE = 12  # bytes, NIST SP 800-38D section 5.2.1.1
DIGESTS = uuid.UUID("d16e5700-0000-4000-8000-000000000001")
"""The row of site_secrets that holds the digest key; its wrapped form is bound to it."""


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
    """The site's key, from 32 bytes in base64. Raises `SettingsError` if it is not that.

    New keys are wrapped by it; `previous` opens what that has wrapped. `stored` brings the digest key as
    `wrapped_digest_key` made it, or None where the key was never rotated; it is asked once, when needed.
    """

    def __init__(
        self,
        encoded: str,
        previous: SiteKey | None = None,
        stored: Callable[[], bytes | None] = lambda: None,
        *,
        name: str = "CONSILIUM_SITE_KEY",
    ) -> None:
        try:
            secret = base64.b64decode(encoded, validate=True)
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise SettingsError(f"{name} is not 32 bytes in base64; make one with: openssl rand -base64 32")
        self._wrapping = _derive(secret, b"consilium wrapping")
        self._derived = _derive(secret, b"consilium digests")
        self._previous = previous
        self._stored = stored
        self.id = hashlib.sha256(self._wrapping).hexdigest()[:16]

    def new_data_key(self, key_id: uuid.UUID) -> tuple[DataKey, bytes]:
        """A fresh data key and its wrapped form for the row."""
        key = DataKey(key_id, AESGCM.generate_key(256))
        return key, self._wrap(key)

    def unwrap(self, key_id: uuid.UUID, wrapped: bytes) -> DataKey:
        """The data key of a row, wrapped by this key or the previous one. Raises `SealedElsewhere`."""
        try:
            return DataKey(key_id, _decrypt(self._wrapping, wrapped, key_id))
        except InvalidTag:
            if self._previous is not None:
                return self._previous.unwrap(key_id, wrapped)
            raise SealedElsewhere(
                "a data key opens neither with CONSILIUM_SITE_KEY nor with CONSILIUM_PREVIOUS_SITE_KEY: "
                "another site key wrote this database"
            ) from None

    def rewrap(self, key_id: uuid.UUID, wrapped: bytes) -> bytes:
        """A row's data key wrapped by this key, whichever of the two had wrapped it. Raises as `unwrap`."""
        return self._wrap(self.unwrap(key_id, wrapped))

    def wrapped_digest_key(self) -> bytes:
        """The digest key for the row `DIGESTS` of site_secrets."""
        return self._wrap(DataKey(DIGESTS, self._digesting))

    def digest(self, *parts: str) -> bytes:
        """Keyed digest (HMAC-SHA256, 32 bytes): equal for equal parts, tells nothing without the key.

        It stays equal when the site's key is rotated. Raises `SealedElsewhere`.
        """
        mac = hmac.new(self._digesting, digestmod=hashlib.sha256)
        for part in parts:
            data = part.encode()
            mac.update(len(data).to_bytes(8, "big") + data)
        return mac.digest()

    @cached_property
    def _digesting(self) -> bytes:
        stored = self._stored()
        if stored is not None:
            return self.unwrap(DIGESTS, stored).secret
        # not rotated yet: the first key's; that is the previous one where a rotation is about to be
        return (self._previous or self)._derived

    def _wrap(self, key: DataKey) -> bytes:
        return _encrypt(self._wrapping, key.secret, key.id)


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=purpose).derive(secret)


def new_site_key() -> str:
    """A fresh site key, encoded as the setting wants it."""
    return base64.b64encode(os.urandom(32)).decode()
