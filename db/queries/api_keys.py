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
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.ids import new_id

SCOPES = ("submit", "read", "operate")
"""What a key may be allowed: to send work, to read what became of it, to cancel and erase."""

_TOKEN = re.compile(r"cons_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")

ADD = text("""
    INSERT INTO api_keys (id, source_id, client_id, name, digest, scopes, expires_at)
    VALUES (:id, :source_id, :client_id, :name, :digest, :scopes, now() + CAST(:lasts AS interval))
""")
FIND = text("""
    SELECT k.id, k.source_id, s.name AS source, k.digest, k.scopes, s.requests_per_minute,
           k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS good
    FROM api_keys k JOIN sources s ON s.id = k.source_id
    WHERE k.id = :id
""")
LISTED = text("""
    SELECT k.id, s.name AS source, k.name, k.scopes, k.created_at, k.expires_at,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired'
                ELSE 'good' END AS state
    FROM api_keys k JOIN sources s ON s.id = k.source_id
    WHERE k.client_id IS NULL AND (CAST(:source_id AS uuid) IS NULL OR k.source_id = :source_id)
    ORDER BY s.name, k.created_at
""")
REVOKE = text("""
    UPDATE api_keys SET revoked_at = now() WHERE id = :id AND client_id IS NULL AND revoked_at IS NULL
    RETURNING source_id
""")
# Locked: of two who rotate it at once the second finds that it ends already.
ROTATED = text("""
    SELECT source_id, name, scopes, expires_at - created_at AS lasts FROM api_keys
    WHERE id = :id AND client_id IS NULL AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > now())
    FOR UPDATE
""")
END = text("UPDATE api_keys SET expires_at = least(expires_at, now() + :overlap) WHERE id = :id")


@dataclass(frozen=True)
class Caller:
    """Who asks, and what he may."""

    key_id: uuid.UUID
    source_id: uuid.UUID
    source: str
    scopes: frozenset[str]
    requests_per_minute: int | None  # None: as the settings say


def add(
    session: Session,
    source_id: uuid.UUID,
    name: str,
    scopes: Sequence[str],
    lasts: timedelta | None = None,
    *,
    client_id: uuid.UUID | None = None,
) -> tuple[uuid.UUID, str]:
    """A new key: its id, and the token, which nobody can show again. `client_id`: who has signed for it."""
    key_id, secret = new_id(), secrets.token_urlsafe(32)
    session.execute(
        ADD,
        {
            "id": key_id,
            "source_id": source_id,
            "client_id": client_id,
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
    return Caller(row.id, row.source_id, row.source, frozenset(row.scopes), row.requests_per_minute)


def listed(session: Session, source_id: uuid.UUID | None = None) -> Sequence[Any]:
    """All keys (of a source) without their secrets, and not the tokens of clients."""
    return session.execute(LISTED, {"source_id": source_id}).all()


def revoke(session: Session, key_id: uuid.UUID) -> uuid.UUID | None:
    """The key opens nothing from the commit on; its source's id, None where there is no such key in use."""
    found: uuid.UUID | None = session.execute(REVOKE, {"id": key_id}).scalar_one_or_none()
    return found


def rotate(
    session: Session, key_id: uuid.UUID, overlap: timedelta, lasts: timedelta | None = None
) -> tuple[uuid.UUID, uuid.UUID, str] | None:
    """A key in the place of another: its source's id, its own, and the token; None if that is not in use.

    The old one ends after `overlap` at the latest. The new one lasts as long as the old one was to.
    """
    old = session.execute(ROTATED, {"id": key_id}).one_or_none()
    if old is None:
        return None
    session.execute(END, {"id": key_id, "overlap": overlap})
    return old.source_id, *add(session, old.source_id, old.name, old.scopes, lasts or old.lasts)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
