"""Rotation of the site's key: every key that is stored is wrapped anew, in batches, while all goes on."""

from __future__ import annotations

import uuid

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.sealing import DIGESTS, SiteKey

FIRST = uuid.UUID(int=0)
"""Before every key's id."""

# By the primary key. A worker that stores under a key holds it shared and is not in the way; who destroys it
# is: skipped, and met again by the next pass if it is still there.
NEXT = text("""
    SELECT id, source_id, wrapped FROM data_keys
    WHERE id > :after AND site_key_id <> :site_key_id
    ORDER BY id LIMIT :most
    FOR NO KEY UPDATE SKIP LOCKED
""")
WRAP = text("""
    UPDATE data_keys SET wrapped = :wrapped, site_key_id = :site_key_id
    WHERE id = :id AND source_id = :source_id
""")
LEFT = text("SELECT count(*) FROM data_keys WHERE site_key_id <> :site_key_id")

DIGEST_KEY = text("""
    INSERT INTO site_secrets (id, site_key_id, wrapped) VALUES (:id, :site_key_id, :wrapped)
    ON CONFLICT (id) DO UPDATE SET site_key_id = excluded.site_key_id, wrapped = excluded.wrapped
""")


def keep_digest_key(session: Session, site_key: SiteKey) -> None:
    """Store the digest key, wrapped by this key: digests stay equal. Raises `SealedElsewhere`."""
    wrapped = site_key.wrapped_digest_key()
    session.execute(DIGEST_KEY, {"id": DIGESTS, "site_key_id": site_key.id, "wrapped": wrapped})


def rewrap(
    session: Session, site_key: SiteKey, *, after: uuid.UUID = FIRST, most: int = 500
) -> list[uuid.UUID]:
    """Wrap the next `most` keys behind `after` that another key has wrapped; their ids, in order.

    Raises `SealedElsewhere`: one opens neither with this key nor with the previous one.
    """
    rows = session.execute(NEXT, {"after": after, "site_key_id": site_key.id, "most": most}).all()
    if rows:
        session.execute(
            WRAP,
            [
                {
                    "id": row.id,
                    "source_id": row.source_id,
                    "site_key_id": site_key.id,
                    "wrapped": site_key.rewrap(row.id, row.wrapped),
                }
                for row in rows
            ],
        )
    return [row.id for row in rows]


def left(session: Session, site_key: SiteKey) -> int:
    """How many keys another key has wrapped."""
    found: int = session.execute(LEFT, {"site_key_id": site_key.id}).scalar_one()
    return found
