"""What comes in: sources, submissions, records, and the sealed clinical documents with their keys."""

import uuid
from decimal import Decimal

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Codes, Id, Json, Moment, Now, Slug, SourceId, belongs_to, one_of


class Source(Base):
    """Who sends: a hospital system, with its policy. `local` exists from the first migration."""

    __tablename__ = "sources"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(100), unique=True)
    policy: Mapped[Json]  # shared.policy.Policy
    daily_budget_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))  # a day in UTC; NULL: no cap
    requests_per_minute: Mapped[int | None]  # over HTTP; these three NULL: the settings'
    max_records: Mapped[int | None]  # of one submission
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of one body, unpacked
    created_at: Mapped[Now]


class ApiKey(Base):
    """A key by which a source comes in over the network: the secret's digest, never the secret."""

    __tablename__ = "api_keys"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    client_id: Mapped[uuid.UUID | None]  # a token, short-lived, that this client has signed for
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[bytes]
    scopes: Mapped[Codes]  # of submit, read, operate
    created_at: Mapped[Now]
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]

    __table_args__ = (belongs_to("api_clients", "client_id"), UniqueConstraint("id"))


class ApiClient(Base):
    """A client that signs for short-lived tokens (SMART Backend Services); only its public keys are kept."""

    __tablename__ = "api_clients"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    jwks: Mapped[Json]  # RFC 7517
    scopes: Mapped[Codes]  # as those of a key
    created_at: Mapped[Now]
    revoked_at: Mapped[Moment | None]

    __table_args__ = (UniqueConstraint("id"),)


class ApiAssertion(Base):
    """A signed request that was answered: until it would expire anyway it is not taken again."""

    __tablename__ = "api_assertions"

    client_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    digest: Mapped[bytes] = mapped_column(primary_key=True)  # of its `jti`
    expires_at: Mapped[Moment]

    __table_args__ = (belongs_to("api_clients", "client_id"),)


class Submission(Base):
    """One batch from one source."""

    __tablename__ = "submissions"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    state: Mapped[Slug]
    idempotency_digest: Mapped[bytes | None]  # keyed digest of the source's own key
    priority: Mapped[Slug]
    purpose: Mapped[Slug]
    strategy: Mapped[Slug]
    n: Mapped[int]
    models: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))  # for FIXED
    families: Mapped[Slug] = mapped_column(server_default="any")  # of a drawn ensemble
    protocol: Mapped[Slug] = mapped_column(server_default="review")
    seed: Mapped[int] = mapped_column(BigInteger)
    budget_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))  # NULL: no cap
    asked_budget_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))  # as it was sent
    dials: Mapped[Json] = mapped_column(JSONB, server_default=text("'{}'"))  # shared.refinement.Dials
    reopened: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # by requeued dead letters
    records: Mapped[int] = mapped_column(server_default=text("0"))
    set_aside: Mapped[int] = mapped_column(server_default=text("0"))
    received_at: Mapped[Now]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        one_of("state", "receiving", "open", "finished", "rejected", "cancelled"),
        one_of("priority", "urgent", "routine", "background"),
        one_of("purpose", "care", "evaluation", "training", "demo"),
        one_of("families", "any", "same", "mixed"),
        CheckConstraint("n BETWEEN 1 AND 12", name="n"),
        UniqueConstraint("idempotency_digest", "source_id"),
        Index("ix_submissions__unfinished", "received_at", postgresql_where=text("state = 'open'")),
        Index(
            "ix_submissions__receiving",
            "received_at",
            postgresql_where=text("state IN ('receiving', 'rejected')"),
        ),
    )


class SubmissionChunk(Base):
    """Some records of a submission that were committed together; a repeat goes on after the last of them."""

    __tablename__ = "submission_chunks"

    submission_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    ordinal: Mapped[int] = mapped_column(primary_key=True)  # of its first record
    digest: Mapped[bytes]  # keyed digest of its records as they were sent
    stored_at: Mapped[Now]

    __table_args__ = (belongs_to("submissions", "submission_id"),)


class Record(Base):
    """One item of a batch: accepted, or set aside with its error."""

    __tablename__ = "records"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    submission_id: Mapped[uuid.UUID]
    ordinal: Mapped[int]  # 0-based position among the records of the batch
    line: Mapped[int]  # 1-based line of the input
    state: Mapped[Slug]
    # keyed digest of the source's own id: only where the same id may not come twice (purpose care)
    own_id_digest: Mapped[bytes | None]
    document_id: Mapped[uuid.UUID | None]  # the vignette, or the text that was set aside
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_path: Mapped[str | None] = mapped_column(String(200))
    error_reason: Mapped[str | None] = mapped_column(String(300))  # our words, never the value
    erased_at: Mapped[Moment | None]  # on request; where its texts went past their retention: NULL

    __table_args__ = (
        belongs_to("submissions", "submission_id"),
        belongs_to("clinical_documents", "document_id"),
        one_of("state", "accepted", "set_aside"),
        CheckConstraint("(state = 'set_aside') = (error_code IS NOT NULL)", name="error_if_set_aside"),
        # the source never stands first: before there are statistics, a check of a reference would take such
        # an index for as good as the primary key and read all records of the source
        UniqueConstraint("submission_id", "source_id", "ordinal"),
        UniqueConstraint("own_id_digest", "source_id"),
    )


class DataKey(Base):
    """One record's key, wrapped by the site's. Deleting the row erases every text sealed with it."""

    __tablename__ = "data_keys"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    site_key_id: Mapped[str] = mapped_column(String(16))
    wrapped: Mapped[bytes]
    created_at: Mapped[Now]


class SiteSecret(Base):
    """A secret of the site, wrapped by its key: the digest key (`shared.sealing.DIGESTS`), once rotated."""

    __tablename__ = "site_secrets"

    id: Mapped[Id]
    site_key_id: Mapped[str] = mapped_column(String(16))
    wrapped: Mapped[bytes]
    created_at: Mapped[Now]


class ClinicalDocument(Base):
    """All clinical text there is, sealed. No query filters on it; everything else holds references."""

    __tablename__ = "clinical_documents"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    # no foreign key: records refer to documents, which are written first
    consultation_id: Mapped[uuid.UUID | None]
    kind: Mapped[Slug]
    key_id: Mapped[uuid.UUID | None]  # NULL once erased
    ciphertext: Mapped[bytes]
    created_at: Mapped[Now]
    expires_at: Mapped[Moment | None]

    __table_args__ = (
        # only key_id is set to NULL: the ciphertext stays, unreadable, and so do all references
        ForeignKeyConstraint(
            ["key_id", "source_id"], ["data_keys.id", "data_keys.source_id"], ondelete="SET NULL (key_id)"
        ),
        one_of("kind", "vignette", "set_aside", "raw_answer", "recommendation", "critique"),
        Index("ix_clinical_documents__key_id", "key_id"),
        # one entry a record, gone with its text: what is past its retention stands first
        Index(
            "ix_clinical_documents__expiring",
            "expires_at",
            postgresql_where=text("key_id IS NOT NULL AND kind IN ('vignette', 'set_aside')"),
        ),
    )
