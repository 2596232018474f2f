"""All tables. Clinical text lies sealed in `clinical_documents` alone; the rest is ids, numbers, codes."""

from db.tables.base import Base
from db.tables.delivery import Delivery, Destination
from db.tables.intake import (
    ApiAssertion,
    ApiClient,
    ApiKey,
    ClinicalDocument,
    DataKey,
    Record,
    SiteSecret,
    Source,
    Submission,
    SubmissionChunk,
)
from db.tables.learning import (
    Choice,
    Evaluation,
    EvaluationArm,
    HistoryImport,
    HistorySetAside,
    ImportedInteraction,
)
from db.tables.operations import (
    Audit,
    Heartbeat,
    ModelState,
    OutboxEvent,
    ParkedMessage,
    Pause,
    PeriodicRun,
    Worker,
)
from db.tables.results import Consensus, Generation, Interaction, Outcome, Review, Snapshot
from db.tables.work import Consultation, ModelCall, ModelVersion, OwedAnswer, Prompt, Seat

__all__ = [
    "ApiAssertion",
    "ApiClient",
    "ApiKey",
    "Audit",
    "Base",
    "Choice",
    "ClinicalDocument",
    "Consensus",
    "Consultation",
    "DataKey",
    "Delivery",
    "Destination",
    "Evaluation",
    "EvaluationArm",
    "Generation",
    "Heartbeat",
    "HistoryImport",
    "HistorySetAside",
    "ImportedInteraction",
    "Interaction",
    "ModelCall",
    "ModelState",
    "ModelVersion",
    "OutboxEvent",
    "Outcome",
    "OwedAnswer",
    "ParkedMessage",
    "Pause",
    "PeriodicRun",
    "Prompt",
    "Record",
    "Review",
    "Seat",
    "SiteSecret",
    "Snapshot",
    "Source",
    "Submission",
    "SubmissionChunk",
    "Worker",
]
