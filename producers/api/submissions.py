"""Submissions: streamed in, stored chunk by chunk, acknowledged when all is stored; and cancelled."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from db.tables import Source
from producers import cancelling
from producers.api.access import Desk, Operating, Uploading
from producers.api.addresses import address
from producers.api.body import Lost, open_body
from producers.api.problems import RETRY_S, Problem, documented, not_found
from producers.intake import NothingAccepted, Order, Receipt, StrictBatch, receive
from producers.nudge import nudge
from producers.readers.files import TooLong, read_inputs
from producers.readers.mapping import parse_mapping
from producers.readers.record import InputError, Read
from shared.errors import NotEnoughModels, RecordError, SettingsError
from shared.family_mix import Families
from shared.selection import Strategy
from shared.settings import Settings

router = APIRouter(tags=["submissions"])
SHOWN_ERRORS = 100
_FORMATS = (
    "application/x-ndjson",
    "application/json",
    "text/csv",
    "application/fhir+json",
    "application/fhir+ndjson",
)
_EXAMPLE = '{"id": "case-1", "vignette": "A man of seventy has had chest pain on exertion for two weeks."}\n'


class Asked(BaseModel):
    """How the submission is to be worked on: what `consilium submit` takes as options."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field(Strategy.RANDOM, description="How the models of each ensemble are chosen.")
    n: int = Field(3, ge=2, le=12, description="Models in the ensemble; of FIXED as many as are named.")
    models: str = Field("", max_length=4000, description="For FIXED: the models' names, with commas.")
    families: Families = Field("any", description="Of a drawn ensemble: any, same or mixed families.")
    priority: Literal["urgent", "routine", "background"] = "routine"
    purpose: Literal["care", "evaluation", "training", "demo"] = "care"
    budget_usd: Decimal | None = Field(
        None, ge=0, lt=1_000_000, decimal_places=8, description="All that it may cost; none: no cap."
    )
    seed: int | None = Field(None, ge=0, lt=2**62, description="Of the draws; by default random.")
    strict: bool = Field(False, description="One bad record rejects all, and nothing is stored.")
    per: Literal["patient", "encounter"] = Field("patient", description="Of FHIR: a record for each.")
    mapping: str | None = Field(
        None,
        max_length=20_000,
        description="Of CSV: which column is what, as TOML; see docs/readers.md.",
        examples=['[fields]\nid = "Case"\nvignette = "Findings"\n'],
    )
    dial_severity: float | None = Field(None, allow_inf_nan=False, description="How lists are refined.")
    dial_same_class: float | None = Field(None, allow_inf_nan=False)
    dial_treats: float | None = Field(None, allow_inf_nan=False)
    dial_grade: float | None = Field(None, allow_inf_nan=False)

    def order(self, desk: Desk, key: str | None) -> Order:
        """The order of a caller. Raises `Problem`."""
        names = tuple(name.strip() for name in self.models.split(",") if name.strip())
        if bool(names) != (self.strategy is Strategy.FIXED):
            raise Problem(
                422, "models and strategy=FIXED belong together: give both or neither", type_="invalid"
            )
        dials = {
            name: getattr(self, f"dial_{name}") for name in ("severity", "same_class", "treats", "grade")
        }
        return Order(
            source=desk.caller.source,
            strategy=self.strategy,
            n=self.n,
            models=names,
            families=self.families,
            priority=self.priority,
            purpose=self.purpose,
            budget_usd=self.budget_usd,
            seed=secrets.randbits(62) if self.seed is None else self.seed,
            strict=self.strict,
            at_least_one=True,
            who=desk.who,
            # a body without a key is a submission of its own, which nothing can go on with
            idempotency_key=key or secrets.token_hex(16),
            dials={name: value for name, value in dials.items() if value is not None},
        )


class RecordProblem(BaseModel):
    """A record that was set aside, and why."""

    record: int = Field(description="Its place in the submission, from 0.")
    line: int | None = Field(description="The line of the body at which it begins, from 1.")
    code: str
    path: str = Field(description='The field, such as "context.age"; "" for the record as a whole.')
    reason: str

    @classmethod
    def of(cls, error: RecordError) -> RecordProblem:
        """What a record's error tells."""
        return cls(
            record=error.ordinal or 0, line=error.line, code=error.code, path=error.path, reason=error.reason
        )


class Accepted(BaseModel):
    """All is stored, and work on it begins."""

    submission: uuid.UUID
    records: int
    accepted: int
    set_aside: int
    repeated: bool = Field(description="The same key and body had been accepted before; nothing was added.")
    errors: list[RecordProblem] = Field(description=f"Of the records set aside, the first {SHOWN_ERRORS}.")


class Cancelled(BaseModel):
    """Consultations of the submission."""

    cancelled: int = Field(description="Have not begun, and never will.")
    going_on: int = Field(description="Had begun, and go on.")
    ended: int = Field(description="Had ended.")


@router.post(
    "/submissions",
    status_code=202,
    response_model=Accepted,
    responses={
        202: {
            "headers": {
                "Content-Location": {
                    "description": "Where to ask how far it is.",
                    "schema": {"type": "string"},
                }
            }
        },
        **documented(400, 401, 403, 408, 409, 410, 413, 415, 422, 429, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The records; plain or gzip.",
            "content": {
                kind: {
                    "schema": {"type": "string"},
                    **({"example": _EXAMPLE} if kind in _FORMATS[:2] else {}),
                }
                for kind in _FORMATS
            },
        }
    },
)
def submit(
    desk: Uploading,
    asked: Annotated[Asked, Query()],
    request: Request,
    response: Response,
    after: BackgroundTasks,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="The same key and body is accepted once: after a lost answer or connection send both "
            "again, and it goes on where it was. Without one nothing can be repeated.",
        ),
    ] = None,
) -> Accepted:
    """Submit vignettes: NDJSON, JSON, CSV or FHIR, by content type, plain or gzip.

    202 when all is stored; until then nothing of it begins. A record that cannot be accepted is set aside
    with its reason, and the rest goes on. A body that cannot be read to its end, is too long, or of which
    not one record can be accepted is refused whole, and nothing of it is kept. What a lost connection left
    behind can be completed for an hour under its Idempotency-Key.
    """
    order = asked.order(desk, idempotency_key)
    receipt = _receive(desk, asked, request, order, goes_on=idempotency_key is not None)
    after.add_task(_nudge, desk.site.settings)
    response.headers["Content-Location"] = address(
        desk.site, request, "submission", submission_id=receipt.submission_id
    )
    return Accepted(
        submission=receipt.submission_id,
        records=receipt.records,
        accepted=receipt.accepted,
        set_aside=receipt.set_aside,
        repeated=receipt.repeated,
        errors=[RecordProblem.of(error) for error in receipt.errors[:SHOWN_ERRORS]],
    )


@router.delete("/submissions/{submission_id}", responses=documented(401, 403, 404, 422))
def cancel(desk: Operating, submission_id: uuid.UUID) -> Cancelled:
    """Cancel what has not begun; what is in flight goes on. Of a submission that is not all there nothing is
    kept. Asked again, it tells the same."""
    found = cancelling.cancel(desk.write, submission_id, who=desk.who, source_id=desk.caller.source_id)
    if found is None:
        raise not_found()
    return Cancelled(cancelled=found.cancelled, going_on=found.going_on, ended=found.ended)


def _receive(desk: Desk, asked: Asked, request: Request, order: Order, *, goes_on: bool) -> Receipt:
    """Store the body. Raises `Problem` and what `receive` does; what cannot be completed is erased."""
    begun: set[uuid.UUID] = set()
    keep = goes_on
    site = desk.site
    with desk.read() as session:
        of_source = session.execute(
            select(Source.max_records, Source.max_bytes).where(Source.id == desk.caller.source_id)
        ).one()
    most_records = of_source.max_records or site.settings.api_max_records
    mapping = None if asked.mapping is None else parse_mapping(asked.mapping, Path("mapping"))
    try:
        with ExitStack() as stack:
            body = open_body(stack, request, of_source.max_bytes or site.settings.api_max_bytes, mapping)
            receipt = receive(
                desk.write,
                _at_most(most_records, read_inputs([body], per=asked.per)),
                order,
                settings=site.settings,
                registry=site.registry,
                vault=site.vault,
                stored=lambda receipt: begun.add(receipt.submission_id),
            )
        keep = True
        return receipt
    except (InputError, Problem, NothingAccepted, StrictBatch, NotEnoughModels, SettingsError) as error:
        keep = False
        raise _problem(error) from None
    except Lost as lost:
        raise Problem(408, str(lost), type_="incomplete") from None
    except IntegrityError:
        raise Problem(
            409,
            "the same ids are being submitted by another at this moment: send it again",
            type_="busy",
            headers={"Retry-After": str(RETRY_S)},
        ) from None
    finally:
        if not keep:  # of a submission that was complete before nothing changes
            for submission_id in begun:
                cancelling.give_up(desk.write, submission_id)


def _at_most(most: int, reads: Iterator[Read]) -> Iterator[Read]:
    """The same. Raises `Problem` where there are more."""
    for count, read in enumerate(reads, start=1):
        if count > most:
            raise Problem(
                413, f"there are more than the {most} records that are taken: split it", type_="too-long"
            )
        yield read


def _problem(error: Exception) -> Exception:
    if isinstance(error, TooLong):
        return Problem(413, error.unquoted, type_="too-long")
    if isinstance(error, InputError):
        return Problem(400, error.unquoted, type_="unreadable-input")
    if isinstance(error, NothingAccepted):
        slug = "nothing-accepted" if error.count else "empty"
        return Problem(422 if error.count else 400, str(error), type_=slug, errors=_told(error.set_aside))
    if isinstance(error, StrictBatch):
        return Problem(422, str(error), type_="strict-batch", errors=_told(error.set_aside))
    return error


def _told(errors: list[RecordError]) -> list[dict[str, Any]] | None:
    return [RecordProblem.of(error).model_dump() for error in errors[:SHOWN_ERRORS]] or None


def _nudge(settings: Settings) -> None:
    """Have the workers look at once; without a broker, or while it is away, the sweep finds what is there."""
    if settings.broker_url is not None:
        nudge(settings)
