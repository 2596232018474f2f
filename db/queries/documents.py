"""Clinical documents: sealed on the way in, opened on the way out. Nothing else touches ciphertext."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.engine import Runs, transaction
from db.ids import new_id
from db.queries.bulk import insert_rows
from db.tables import ClinicalDocument
from shared.errors import ErasedError, SettingsError
from shared.sealing import DIGESTS, SiteKey
from shared.sealing import DataKey as Key
from shared.settings import Settings

# Documents with their wrapped keys, by primary keys; those whose key is gone are left out.
OPEN = text("""
    SELECT d.id, d.ciphertext, k.id AS key_id, k.wrapped
    FROM clinical_documents d
    JOIN data_keys k ON k.id = d.key_id AND k.source_id = d.source_id
    WHERE d.id = ANY(:ids)
""")

# The digest key; no row before the site's key is rotated for the first time.
SECRET = text("SELECT wrapped FROM site_secrets WHERE id = :id")


class Vault:
    """Seals and opens documents under one site key. Documents expire after `retention_days`."""

    def __init__(self, site_key: SiteKey, retention_days: int) -> None:
        self.site_key = site_key
        self.retention_days = retention_days

    @classmethod
    def of(cls, settings: Settings) -> Vault:
        """The site's vault. Raises `SettingsError` without a site key, or with a bad one."""
        if settings.site_key is None:
            raise SettingsError("CONSILIUM_SITE_KEY is not set: without it no text can be sealed or read")
        previous = None
        if settings.previous_site_key is not None:
            before = settings.previous_site_key.get_secret_value()
            previous = SiteKey(before, name="CONSILIUM_PREVIOUS_SITE_KEY")

        def stored() -> bytes | None:
            with transaction(settings.require_database()) as session:
                row = session.execute(SECRET, {"id": DIGESTS}).one_or_none()
                return None if row is None else bytes(row.wrapped)

        site_key = SiteKey(settings.site_key.get_secret_value(), previous, stored)
        return cls(site_key, settings.retention_days)

    def new_key(self, source_id: uuid.UUID) -> tuple[Key, dict[str, Any]]:
        """A data key for one record, and its row for `data_keys`."""
        key, wrapped = self.site_key.new_data_key(new_id())
        return key, {
            "id": key.id,
            "source_id": source_id,
            "site_key_id": self.site_key.id,
            "wrapped": wrapped,
        }

    def open_record(
        self, session: Runs, document_id: uuid.UUID, *others: uuid.UUID
    ) -> tuple[Key, dict[uuid.UUID, str]]:
        """A record's key, and its texts by their ids, in one round trip. Raises `ErasedError`."""
        rows = session.execute(OPEN, {"ids": [document_id, *others]}).all()
        if not rows:
            raise ErasedError("the text of this record was erased")
        key = self.site_key.unwrap(rows[0].key_id, rows[0].wrapped)
        return key, {row.id: key.open(row.ciphertext, row.id) for row in rows}

    def sealed(
        self,
        key: Key,
        kind: str,
        text_: str,
        *,
        source_id: uuid.UUID,
        consultation_id: uuid.UUID | None = None,
    ) -> dict[str, Any]:
        """A text's row, sealed; its `id` is the document's."""
        document_id = new_id()
        return {
            "id": document_id,
            "source_id": source_id,
            "consultation_id": consultation_id,
            "kind": kind,
            "key_id": key.id,
            "ciphertext": key.seal(text_, document_id),
        }

    def store_many(self, session: Session, rows: list[dict[str, Any]]) -> None:
        """Store sealed rows, in one statement; they expire by the database's clock."""
        expires = ("expires_at", "now() + make_interval(days => :retention_days)")
        insert_rows(session, ClinicalDocument, rows, (expires,), retention_days=self.retention_days)

    def open(self, session: Runs, document_id: uuid.UUID) -> str:
        """The text of a document. Raises `ErasedError` if its key is gone."""
        try:
            return self.open_all(session, [document_id])[document_id]
        except KeyError:
            raise ErasedError("the text of this record was erased") from None

    def open_all(self, session: Runs, document_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
        """The texts of documents by their ids, in one round trip; erased ones are left out."""
        return {
            row.id: self.site_key.unwrap(row.key_id, row.wrapped).open(row.ciphertext, row.id)
            for row in session.execute(OPEN, {"ids": list(document_ids)})
        }
