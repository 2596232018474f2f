"""Keys of sources: `cons_<key's id>_<secret>`, shown once; of the secret only a digest is stored.

The secret has 256 random bits, so a plain SHA-256 of it can be neither guessed nor turned back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.ids import new_id

SCOPES = ("submit", "read", "operate")
"""What a key may be allowed: to send work, to read what became of it, to cancel and erase."""

_TOKEN = re.compile(r"cons_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")

ADD = text("""
    INSERT INTO api_keys (id, source_id, name, digest, scopes, expires_at)
    VALUES (:id, :source_id, :name, :digest, :scopes, now() + CAST(:lasts AS interval))
""")
FIND = text("""
    SELECT k.id, k.source_id, s.name AS source, k.digest, k.scopes,
           k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS good
    FROM api_keys k JOIN sources s ON s.id = k.source_id
    WHERE k.id = :id
""")


@dataclass(frozen=True)
class Caller:
    """Who asks, and what he may."""

    key_id: uuid.UUID
    source_id: uuid.UUID
    source: str
    scopes: frozenset[str]


def add(
    session: Session, source_id: uuid.UUID, name: str, scopes: Sequence[str], lasts: timedelta | None = None
) -> tuple[uuid.UUID, str]:
    """A new key: its id, and the token, which nobody can show again."""
    key_id, secret = new_id(), secrets.token_urlsafe(32)
    session.execute(
        ADD,
        {
            "id": key_id,
            "source_id": source_id,
            "name": name,
            "digest": _digest(secret),
            "scopes": list(scopes),
            "lasts": lasts,
        },
    )
    return key_id, f"cons_{key_id.hex}_{secret}"


def caller(session: Session, token: str) -> Caller | None:
    """Whose token this is; None for one that is malformed, unknown, wrong, expired or revoked."""
    if (found := _TOKEN.fullmatch(token)) is None:
        return None
    row = session.execute(FIND, {"id": uuid.UUID(found[1])}).one_or_none()
    # compared also where there is none, so that time does not tell which ids exist
    right = hmac.compare_digest(_digest(found[2]), bytes(row.digest) if row else bytes(32))
    if row is None or not right or not row.good:
        return None
    return Caller(row.id, row.source_id, row.source, frozenset(row.scopes))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
