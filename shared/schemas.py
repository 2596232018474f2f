"""What travels through the pipeline: vignettes in, recommendations and reviews from the models.

Models hide their input in errors (clinical text must not reach a log) and forbid unknown fields.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Kind = Literal[
    "medication/general",
    "medication/cardiology",
    "medication/pulmonology",
    "medication/endocrinology",
    "medication/infectious-disease",
    "medication/neurology",
    "medication/psychiatry",
    "medication/gastroenterology",
    "medication/nephrology",
    "medication/rheumatology",
    "medication/obstetrics",
    "medication/pediatrics",
    "medication/dermatology",
    "medication/hematology",
    "medication/urology",
    "medication/geriatrics",
    "medication/emergency",
]
KINDS: tuple[str, ...] = get_args(Kind)
"""The closed list of kinds of task; estimates lean on `medication/general` where a kind is thin."""

PRIORITIES = ("urgent", "routine", "background")
PURPOSES = ("care", "evaluation", "training", "demo")

Text = Annotated[str, Field(min_length=1, max_length=300)]


class Strict(BaseModel):
    """Base: unknown fields are errors, and errors never quote the value."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True, frozen=True
    )


class CurrentMedication(Strict):
    """A drug the patient takes already."""

    name: Text
    dose: str | None = Field(default=None, max_length=200)


class Context(Strict):
    """Structured context where the source has it; everything optional, None is "not known"."""

    age: float | None = Field(default=None, ge=0, le=130)  # years, as of the vignette's date
    sex: Literal["female", "male", "other"] | None = None
    specialty: Text | None = None
    conditions: list[Text] = Field(default_factory=list, max_length=200)
    allergies: list[Text] = Field(default_factory=list, max_length=200)
    medications: list[CurrentMedication] = Field(default_factory=list, max_length=200)
    pregnant: bool | None = None
    egfr: float | None = Field(default=None, ge=0, le=250)  # mL/min/1.73 m²

    @field_validator("medications", mode="before")
    @classmethod
    def _names_alone(cls, taken: Any) -> Any:
        """A drug may be given as its name alone, dose and all: "warfarin 5 mg"."""
        if not isinstance(taken, list):
            return taken
        return [{"name": drug} if isinstance(drug, str) else drug for drug in taken]


class Identity(Strict):
    """Who the patient is, where the source has it apart from the text: what is masked for remote models.

    Of the patient, relatives and practitioners alike. It is sealed with the vignette and shown to no model.
    """

    names: list[Text] = Field(default_factory=list, max_length=200)  # whole names or parts of them
    identifiers: list[Text] = Field(default_factory=list, max_length=200)  # of record, insurance, passport
    addresses: list[Text] = Field(default_factory=list, max_length=200)  # lines, places, postal codes
    contacts: list[Text] = Field(default_factory=list, max_length=200)  # phones, e-mail, web addresses
    birth_date: dt.date | None = None
    date: dt.date | None = None  # the day the text speaks of: exact dates become days before or after it
    # The source's own FHIR references ("Patient/f101"), where it has some: what proposals are about.
    patient: Text | None = None
    encounter: Text | None = None


class GoldItem(Strict):
    """One thing that must be treated: any one of these drugs does, of a combination all its ingredients."""

    any_of: list[Text] = Field(min_length=1)


class Gold(Strict):
    """What is known to be right, in definition `list-1`.

    A combination that is acceptable or never stands for each of its ingredients.
    """

    required: list[GoldItem] = Field(default_factory=list)
    acceptable: list[Text] = Field(default_factory=list)
    never: list[Text] = Field(default_factory=list)


class Vignette(Strict):
    """One record as it is sent: the source's own id, the clinical text, and what else is known."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    vignette: Annotated[str, Field(min_length=20, max_length=20_000)]
    kind: Kind = "medication/general"
    context: Context = Field(default_factory=Context)
    identity: Identity = Field(default_factory=Identity)
    gold: Gold | None = None


class Medication(Strict):
    """One order of a recommendation, as the model wrote it."""

    model_config = ConfigDict(extra="ignore")

    name: Text
    action: Literal["start", "continue", "stop"]
    dose: str = Field(default="", max_length=200)
    route: str = Field(default="", max_length=100)
    frequency: str = Field(default="", max_length=200)
    indication: str = Field(default="", max_length=300)


class Recommendation(Strict):
    """A model's answer to a vignette."""

    model_config = ConfigDict(extra="ignore")

    decision: Literal["recommend", "no_medication", "defer"]
    medications: list[Medication] = Field(default_factory=list, max_length=40)
    rationale: str = Field(default="", max_length=8_000)

    @model_validator(mode="after")
    def _list_fits_decision(self) -> Recommendation:
        if self.decision == "recommend" and not self.medications:
            raise ValueError("decision is 'recommend' but medications is empty")
        if self.decision != "recommend" and any(m.action == "start" for m in self.medications):
            raise ValueError(f"decision is '{self.decision}' but medications holds one to start")
        return self


class ReviewAnswer(Strict):
    """A model's answer to a review prompt. A grade out of range is malformed, not clipped."""

    model_config = ConfigDict(extra="ignore")

    grade: float = Field(ge=0, le=1, allow_inf_nan=False, strict=True)
    critique: str = Field(default="", max_length=4_000)
