"""Clients that sign for tokens (SMART Backend Services): their public keys, and what was signed already."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql import bindparam

from db.ids import new_id
from db.queries import api_keys

TOKEN_LASTS = timedelta(minutes=5)

ADD = text("""
    INSERT INTO api_clients (id, source_id, name, jwks, scopes)
    VALUES (:id, :source_id, :name, :jwks, :scopes)
""").bindparams(bindparam("jwks", type_=JSONB))
FIND = text("""
    SELECT c.id, c.source_id, c.name, c.jwks, c.scopes, s.requests_per_minute
    FROM api_clients c JOIN sources s ON s.id = c.source_id
    WHERE c.id = :id AND c.revoked_at IS NULL
""")
LISTED = text("""
    SELECT c.id, s.name AS source, c.name, c.scopes, c.created_at, c.revoked_at,
           ARRAY(SELECT k ->> 'kid' FROM jsonb_array_elements(c.jwks -> 'keys') k) AS keys
    FROM api_clients c JOIN sources s ON s.id = c.source_id
    WHERE CAST(:source_id AS uuid) IS NULL OR c.source_id = :source_id
    ORDER BY s.name, c.created_at
""")
REVOKE = text("""
    WITH revoked AS (
        UPDATE api_clients SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL
        RETURNING id, source_id
    ), ended AS (
        UPDATE api_keys k SET revoked_at = now() FROM revoked r
        WHERE k.client_id = r.id AND k.source_id = r.source_id AND k.revoked_at IS NULL
    )
    SELECT source_id FROM revoked
""")

# What would be refused as expired need not be known any longer; so with tokens.
CLEAR = (
    text("DELETE FROM api_assertions WHERE client_id = :id AND expires_at < now() - interval '5 minutes'"),
    text("DELETE FROM api_keys WHERE client_id = :id AND expires_at < now()"),
)
# Of two that come at once the second waits for the first's commit, and then finds it there.
USE = text("""
    INSERT INTO api_assertions (client_id, source_id, digest, expires_at)
    VALUES (:id, :source_id, :digest, :expires_at)
    ON CONFLICT DO NOTHING RETURNING client_id
""")
ISSUED = text("""
    INSERT INTO audit (source_id, who, what, which) VALUES (:source_id, :who, 'token.issue', :which)
""")


@dataclass(frozen=True)
class Client:
    """Who signs; `jwks` is a JWK Set (RFC 7517) of public keys."""

    id: uuid.UUID
    source_id: uuid.UUID
    name: str
    jwks: dict[str, Any]
    scopes: list[str]
    requests_per_minute: int | None


def add(
    session: Session, source_id: uuid.UUID, name: str, jwks: dict[str, Any], scopes: Sequence[str]
) -> uuid.UUID:
    """A new client; its id, by which it names itself."""
    client_id = new_id()
    session.execute(
        ADD, {"id": client_id, "source_id": source_id, "name": name, "jwks": jwks, "scopes": list(scopes)}
    )
    return client_id


def client(session: Session, client_id: uuid.UUID) -> Client | None:
    """The client; None where there is none, or it is revoked."""
    row = session.execute(FIND, {"id": client_id}).one_or_none()
    return None if row is None else Client(**row._mapping)


def listed(session: Session, source_id: uuid.UUID | None = None) -> Sequence[Any]:
    """All clients (of a source), with the names of their keys."""
    return session.execute(LISTED, {"source_id": source_id}).all()


def revoke(session: Session, client_id: uuid.UUID) -> uuid.UUID | None:
    """Neither the client nor its tokens open anything from the commit on; its source's id, None: no such."""
    found: uuid.UUID | None = session.execute(REVOKE, {"id": client_id}).scalar_one_or_none()
    return found


def issue(
    session: Session, client: Client, jti: str, expires_at: datetime, scopes: Sequence[str]
) -> str | None:
    """A token for what was signed as `jti`, good for `TOKEN_LASTS`; None if that was answered before."""
    for statement in CLEAR:
        session.execute(statement, {"id": client.id})
    values = {
        "id": client.id,
        "source_id": client.source_id,
        "digest": hashlib.sha256(jti.encode(errors="surrogatepass")).digest(),
        "expires_at": expires_at,
    }
    if session.execute(USE, values).one_or_none() is None:
        return None
    key_id, token = api_keys.add(
        session, client.source_id, client.name, scopes, TOKEN_LASTS, client_id=client.id
    )
    session.execute(
        ISSUED, {"source_id": client.source_id, "who": f"client {client.id}", "which": str(key_id)}
    )
    return token
