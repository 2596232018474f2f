"""the whole schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


APPEND_ONLY = ("audit", "outcomes", "snapshots")


def upgrade() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("returned", sa.String(length=200), nullable=True),
        sa.Column("parameters_digest", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("location", sa.String(length=60), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("predecessor_id", sa.Uuid(), nullable=True),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("location IN ('remote', 'local')", name="ck_model_versions__location"),
        sa.ForeignKeyConstraint(
            ["predecessor_id"], ["model_versions.id"], name="fk_model_versions__predecessor_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint(
            "provider",
            "name",
            "returned",
            "parameters_digest",
            name="uq_model_versions__provider_name_returned_parameters_digest",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "periodic_runs",
        sa.Column("job", sa.String(length=60), nullable=False),
        sa.Column("period", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.String(length=60), nullable=True),
        sa.PrimaryKeyConstraint("job", "period", name="pk_periodic_runs"),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("output_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "first_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prompts"),
    )
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("form", sa.String(length=60), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("purposes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("span_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("span_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows_read", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('reviewers', 'chemistry')", name="ck_snapshots__kind"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.UniqueConstraint("kind", "number", name="uq_snapshots__kind_number"),
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("policy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.UniqueConstraint("name", name="uq_sources__name"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("boot_id", sa.Uuid(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=True),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("what", sa.String(length=60), nullable=False),
        sa.Column("which", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_audit__source_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "data_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("site_key_id", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_data_keys__source_id"),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_data_keys"),
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=60), nullable=False),
        sa.Column("idempotency_digest", sa.LargeBinary(), nullable=True),
        sa.Column("body_digest", sa.LargeBinary(), nullable=True),
        sa.Column("priority", sa.String(length=60), nullable=False),
        sa.Column("purpose", sa.String(length=60), nullable=False),
        sa.Column("strategy", sa.String(length=60), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("models", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("protocol", sa.String(length=60), server_default="review", nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("set_aside", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "priority IN ('urgent', 'routine', 'background')", name="ck_submissions__priority"
        ),
        sa.CheckConstraint(
            "purpose IN ('care', 'evaluation', 'training', 'demo')", name="ck_submissions__purpose"
        ),
        sa.CheckConstraint(
            "state IN ('receiving', 'open', 'finished', 'rejected', 'cancelled')",
            name="ck_submissions__state",
        ),
        sa.CheckConstraint("n BETWEEN 2 AND 12", name="ck_submissions__n"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_submissions__source_id"),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_submissions"),
        sa.UniqueConstraint(
            "idempotency_digest", "source_id", name="uq_submissions__idempotency_digest_source_id"
        ),
    )
    op.create_index(
        "ix_submissions__unfinished",
        "submissions",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "clinical_documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('vignette', 'set_aside', 'raw_answer', 'recommendation', 'critique')",
            name="ck_clinical_documents__kind",
        ),
        sa.ForeignKeyConstraint(
            ["key_id", "source_id"],
            ["data_keys.id", "data_keys.source_id"],
            name="fk_clinical_documents__key_id_source_id",
            ondelete="SET NULL (key_id)",
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_clinical_documents__source_id"),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_clinical_documents"),
    )
    op.create_index("ix_clinical_documents__key_id", "clinical_documents", ["key_id"], unique=False)
    op.create_table(
        "records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=60), nullable=False),
        sa.Column("own_id_digest", sa.LargeBinary(), nullable=True),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("error_path", sa.String(length=200), nullable=True),
        sa.Column("error_reason", sa.String(length=300), nullable=True),
        sa.CheckConstraint(
            "(state = 'set_aside') = (error_code IS NOT NULL)", name="ck_records__error_if_set_aside"
        ),
        sa.CheckConstraint("state IN ('accepted', 'set_aside')", name="ck_records__state"),
        sa.ForeignKeyConstraint(
            ["document_id", "source_id"],
            ["clinical_documents.id", "clinical_documents.source_id"],
            name="fk_records__document_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_records__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_records"),
        sa.UniqueConstraint("own_id_digest", "source_id", name="uq_records__own_id_digest_source_id"),
        sa.UniqueConstraint(
            "submission_id", "source_id", "ordinal", name="uq_records__submission_id_source_id_ordinal"
        ),
    )
    op.create_table(
        "consultations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("vignette_digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("purpose", sa.String(length=60), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("protocol", sa.String(length=60), nullable=False),
        sa.Column("strategy", sa.String(length=60), nullable=False),
        sa.Column("n", sa.SmallInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("draw_probability", sa.Double(), nullable=True),
        sa.Column("allowed", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("explored", sa.Boolean(), nullable=False),
        sa.Column("generate_prompt_id", sa.String(length=64), nullable=False),
        sa.Column("review_prompt_id", sa.String(length=64), nullable=False),
        sa.Column("settings_digest", sa.String(length=64), nullable=False),
        sa.Column("reviewers_snapshot_id", sa.Uuid(), nullable=False),
        sa.Column("chemistry_snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("stall_s", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=60), server_default="open", nullable=False),
        sa.Column("stage", sa.String(length=60), server_default="waiting", nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=True),
        sa.Column("held", sa.String(length=60), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "next_resume_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("flagged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("resumes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (ended_at IS NULL)", name="ck_consultations__ended_if_not_open"
        ),
        sa.CheckConstraint(
            "stage IN ('waiting', 'generating', 'reviewing', 'concluding', 'ended')",
            name="ck_consultations__stage",
        ),
        sa.CheckConstraint(
            "state IN ('open', 'completed', 'needs_review', 'failed', 'cancelled')",
            name="ck_consultations__state",
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 2", name="ck_consultations__priority"),
        sa.ForeignKeyConstraint(
            ["chemistry_snapshot_id"], ["snapshots.id"], name="fk_consultations__chemistry_snapshot_id"
        ),
        sa.ForeignKeyConstraint(
            ["document_id", "source_id"],
            ["clinical_documents.id", "clinical_documents.source_id"],
            name="fk_consultations__document_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["generate_prompt_id"], ["prompts.id"], name="fk_consultations__generate_prompt_id"
        ),
        sa.ForeignKeyConstraint(
            ["record_id", "source_id"],
            ["records.id", "records.source_id"],
            name="fk_consultations__record_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["review_prompt_id"], ["prompts.id"], name="fk_consultations__review_prompt_id"
        ),
        sa.ForeignKeyConstraint(
            ["reviewers_snapshot_id"], ["snapshots.id"], name="fk_consultations__reviewers_snapshot_id"
        ),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_consultations__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_consultations"),
        sa.UniqueConstraint("record_id", "source_id", name="uq_consultations__record_id_source_id"),
    )
    op.create_index(
        "ix_consultations__due",
        "consultations",
        ["next_resume_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NOT NULL"),
    )
    op.create_index("ix_consultations__submission", "consultations", ["submission_id", "state"], unique=False)
    op.create_index(
        "ix_consultations__waiting",
        "consultations",
        ["priority", "accepted_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NULL"),
    )
    op.create_table(
        "consensus",
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("form", sa.String(length=60), nullable=False),
        sa.Column("snapshot_id", sa.Uuid(), nullable=False),
        sa.Column("grade", sa.Double(), nullable=True),
        sa.Column("variance", sa.Double(), nullable=True),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("rule", sa.String(length=60), nullable=True),
        sa.Column("highest_graded", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("majority", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("refined", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("stops", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("minority", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("support", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "concluded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_consensus__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_consensus__snapshot_id"),
        sa.PrimaryKeyConstraint("consultation_id", "source_id", name="pk_consensus"),
    )
    op.create_table(
        "generations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("owed_answer_id", sa.Uuid(), nullable=False),
        sa.Column("seat", sa.SmallInteger(), nullable=False),
        sa.Column("occupancy", sa.SmallInteger(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("raw_document_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.String(length=60), nullable=False),
        sa.Column("starts", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("stops", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "decision IN ('recommend', 'no_medication', 'defer')", name="ck_generations__decision"
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_generations__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_generations__model_version_id"
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_generations"),
        sa.UniqueConstraint("owed_answer_id", "source_id", name="uq_generations__owed_answer_id_source_id"),
    )
    op.create_index("ix_generations__consultation", "generations", ["consultation_id"], unique=False)
    op.create_table(
        "interactions",
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("seat", sa.SmallInteger(), nullable=False),
        sa.Column("occupancy", sa.SmallInteger(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("purpose", sa.String(length=60), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=True),
        sa.Column("quality", sa.Double(), nullable=True),
        sa.Column("variance", sa.Double(), nullable=True),
        sa.Column("generation_accuracy", sa.Double(), nullable=True),
        sa.Column("review_accuracy", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_interactions__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_interactions__model_version_id"
        ),
        sa.PrimaryKeyConstraint("consultation_id", "source_id", "seat", "occupancy", name="pk_interactions"),
    )
    op.create_index("ix_interactions__kind", "interactions", ["kind", "created_at"], unique=False)
    op.create_table(
        "outbox_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "type IN ('consultation.completed', 'consultation.needs_review', 'consultation.failed', 'submission.finished')",
            name="ck_outbox_events__type",
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_outbox_events__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_outbox_events__source_id"),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_outbox_events__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outbox_events"),
        sa.UniqueConstraint(
            "source_id",
            "submission_id",
            "consultation_id",
            "type",
            name="uq_outbox_events__source_id_submission_id_consultation_id_type",
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_outbox_events__undelivered",
        "outbox_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "outcomes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("definition", sa.String(length=60), nullable=False),
        sa.Column("gold", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('gold', 'clinician', 'imported')", name="ck_outcomes__kind"),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_outcomes__consultation_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_outcomes"),
    )
    op.create_index("ix_outcomes__consultation", "outcomes", ["consultation_id"], unique=False)
    op.create_table(
        "seats",
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("seat", sa.SmallInteger(), nullable=False),
        sa.Column("occupancy", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("left_because", sa.String(length=60), nullable=True),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_seats__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_seats__model_version_id"
        ),
        sa.PrimaryKeyConstraint("consultation_id", "source_id", "seat", "occupancy", name="pk_seats"),
    )
    op.create_table(
        "owed_answers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("round", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("seat", sa.SmallInteger(), nullable=False),
        sa.Column("occupancy", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("about", sa.Uuid(), nullable=True),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=60), server_default="owed", nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("limited_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claims", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("crashes", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("raw_id", sa.Uuid(), nullable=True),
        sa.Column("repair_of", sa.Uuid(), nullable=True),
        sa.Column("answer_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(length=60), nullable=True),
        sa.CheckConstraint(
            "(kind = 'review') = (about IS NOT NULL)", name="ck_owed_answers__review_is_about"
        ),
        sa.CheckConstraint(
            "(state = 'answered') = (answer_id IS NOT NULL)", name="ck_owed_answers__answered_has_answer"
        ),
        sa.CheckConstraint("kind IN ('generation', 'review')", name="ck_owed_answers__kind"),
        sa.CheckConstraint("state IN ('owed', 'answered', 'excused', 'void')", name="ck_owed_answers__state"),
        sa.ForeignKeyConstraint(
            ["about", "source_id"],
            ["generations.id", "generations.source_id"],
            name="fk_owed_answers__about_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_owed_answers__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_owed_answers__model_version_id"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name="fk_owed_answers__prompt_id"),
        sa.ForeignKeyConstraint(
            ["raw_id", "source_id"],
            ["clinical_documents.id", "clinical_documents.source_id"],
            name="fk_owed_answers__raw_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_owed_answers"),
        sa.UniqueConstraint(
            "consultation_id",
            "kind",
            "round",
            "seat",
            "occupancy",
            "about",
            name="uq_owed_answers__key",
            postgresql_nulls_not_distinct=True,
        ),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_owed_answers__owed",
        "owed_answers",
        ["consultation_id"],
        unique=False,
        postgresql_where=sa.text("state = 'owed'"),
    )
    op.create_table(
        "model_calls",
        sa.Column("owed_answer_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("claim", sa.SmallInteger(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=60), nullable=True),
        sa.Column("error_kind", sa.String(length=60), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=8), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('answered', 'failed', 'lost', 'given_up', 'late', 'unsent')",
            name="ck_model_calls__outcome",
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (ended_at IS NULL)", name="ck_model_calls__ended_with_outcome"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_model_calls__model_version_id"
        ),
        sa.ForeignKeyConstraint(
            ["owed_answer_id", "source_id"],
            ["owed_answers.id", "owed_answers.source_id"],
            name="fk_model_calls__owed_answer_id_source_id",
        ),
        sa.PrimaryKeyConstraint("owed_answer_id", "source_id", "claim", name="pk_model_calls"),
    )
    op.create_index(
        "ix_model_calls__open",
        "model_calls",
        ["started_at"],
        unique=False,
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("consultation_id", sa.Uuid(), nullable=False),
        sa.Column("owed_answer_id", sa.Uuid(), nullable=False),
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("seat", sa.SmallInteger(), nullable=False),
        sa.Column("occupancy", sa.SmallInteger(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("raw_document_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("grade", sa.Double(), nullable=False),
        sa.Column("label", sa.String(length=2), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("scrubbed", sa.SmallInteger(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("grade BETWEEN 0 AND 1", name="ck_reviews__grade"),
        sa.ForeignKeyConstraint(
            ["consultation_id", "source_id"],
            ["consultations.id", "consultations.source_id"],
            name="fk_reviews__consultation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["generation_id", "source_id"],
            ["generations.id", "generations.source_id"],
            name="fk_reviews__generation_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_reviews__model_version_id"
        ),
        sa.ForeignKeyConstraint(
            ["owed_answer_id", "source_id"],
            ["owed_answers.id", "owed_answers.source_id"],
            name="fk_reviews__owed_answer_id_source_id",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_reviews"),
        sa.UniqueConstraint("owed_answer_id", "source_id", name="uq_reviews__owed_answer_id_source_id"),
    )
    op.create_index("ix_reviews__consultation", "reviews", ["consultation_id"], unique=False)
    op.create_index("ix_reviews__created_at", "reviews", ["created_at"], unique=False)

    # generations and owed_answers refer to each other, so this half comes last
    op.create_foreign_key(
        "fk_generations__owed_answer_id_source_id",
        "generations",
        "owed_answers",
        ["owed_answer_id", "source_id"],
        ["id", "source_id"],
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    # what exists from the start: the source `local`, whose policy lets nothing leave the house,
    # and the reviewers' memory that knows nothing (the plain mean)
    op.execute(
        """
        INSERT INTO sources (id, name, policy)
        VALUES (gen_random_uuid(), 'local', '{"allow": ["local", "simulated"]}');
        INSERT INTO snapshots (id, kind, number, form, parameters, purposes, rows_read, digest, body)
        VALUES (gen_random_uuid(), 'reviewers', 0, 'mean', '{}', '{}', 0, '', '{}')
        """
    )


def downgrade() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only ON {table}")
    op.execute("DROP FUNCTION refuse_change()")
    op.drop_constraint("fk_generations__owed_answer_id_source_id", "generations", type_="foreignkey")
    op.drop_index("ix_reviews__created_at", table_name="reviews")
    op.drop_index("ix_reviews__consultation", table_name="reviews")
    op.drop_table("reviews")
    op.drop_index(
        "ix_model_calls__open", table_name="model_calls", postgresql_where=sa.text("outcome IS NULL")
    )
    op.drop_table("model_calls")
    op.drop_index(
        "ix_owed_answers__owed", table_name="owed_answers", postgresql_where=sa.text("state = 'owed'")
    )
    op.drop_table("owed_answers")
    op.drop_table("seats")
    op.drop_index("ix_outcomes__consultation", table_name="outcomes")
    op.drop_table("outcomes")
    op.drop_index(
        "ix_outbox_events__undelivered",
        table_name="outbox_events",
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.drop_table("outbox_events")
    op.drop_index("ix_interactions__kind", table_name="interactions")
    op.drop_table("interactions")
    op.drop_index("ix_generations__consultation", table_name="generations")
    op.drop_table("generations")
    op.drop_table("consensus")
    op.drop_index(
        "ix_consultations__waiting",
        table_name="consultations",
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NULL"),
    )
    op.drop_index("ix_consultations__submission", table_name="consultations")
    op.drop_index(
        "ix_consultations__due",
        table_name="consultations",
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NOT NULL"),
    )
    op.drop_table("consultations")
    op.drop_table("records")
    op.drop_index("ix_clinical_documents__key_id", table_name="clinical_documents")
    op.drop_table("clinical_documents")
    op.drop_index(
        "ix_submissions__unfinished", table_name="submissions", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_table("submissions")
    op.drop_table("data_keys")
    op.drop_table("audit")
    op.drop_table("workers")
    op.drop_table("sources")
    op.drop_table("snapshots")
    op.drop_table("prompts")
    op.drop_table("periodic_runs")
    op.drop_table("model_versions")
