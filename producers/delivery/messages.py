"""A message as a submission: its body is what the body of a POST is, its headers say how it is worked on."""

from __future__ import annotations

import hashlib
import io
import secrets
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from kombu.utils.json import loads
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from producers.batch import Order
from producers.readers.files import InputFormat, Per, TooLong, open_stream, read_inputs
from producers.readers.record import InputError, Read
from shared.family_mix import Families
from shared.selection import Strategy

FORMATS = {
    **dict.fromkeys(("application/x-ndjson", "application/ndjson"), InputFormat.ndjson),
    **dict.fromkeys(("application/fhir+json", "application/fhir+ndjson"), InputFormat.fhir),
    "text/csv": InputFormat.csv,
}
"""By content type; of any other, the content tells."""
_SHOWN = "the message"


class Asked(BaseModel):
    """Headers that say how a submission is to be worked on; others are the sender's own business."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    strategy: Strategy = Strategy.RANDOM
    n: int = Field(3, ge=2, le=12)
    models: str = ""  # for FIXED, with commas
    families: Families = "any"
    priority: Literal["urgent", "routine", "background"] = "routine"
    purpose: Literal["care", "evaluation", "training", "demo"] = "care"
    strict: bool = False
    per: Per = "patient"
    idempotency_key: str = Field("", alias="idempotency-key", max_length=200)


class _At(BaseModel):
    """From where kombu took a message, and whereto it puts it back."""

    exchange: str
    routing_key: str


class _Properties(BaseModel):
    """Of a message on Redis: what kombu cannot do without."""

    delivery_tag: str
    delivery_info: _At
    body_encoding: Literal["base64", "utf-8"] | None = None


class _Envelope(BaseModel):
    """A message on Redis, as kombu writes it: a JSON object around the body."""

    body: str | None = None
    headers: dict[str, Any] = Field(default_factory=dict)
    properties: _Properties


def enveloped(item: bytes) -> bool:
    """Whether kombu can read that from Redis, and put it back."""
    try:
        envelope = _Envelope.model_validate(loads(item.decode()))
        if envelope.properties.body_encoding == "base64":
            b64decode(envelope.body or "")
    except Exception:  # noqa: BLE001 - anything may stand there, and kombu's own hooks raise what they like
        return False
    return True


@dataclass(frozen=True, repr=False)
class Message:
    """What was sent. Not shown in reprs: the body is clinical."""

    body: bytes
    content_type: str = ""
    message_id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)

    def asked(self) -> Asked:
        """What its headers say. Raises `InputError` for one that makes no sense."""
        try:
            return Asked.model_validate({str(name).lower(): value for name, value in self.headers.items()})
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise _refused(f"headers: {wrong}", "mend them, or leave them out") from None

    def order(self, source: str, who: str) -> Order:
        """How it is to be worked on. Raises `InputError`."""
        asked = self.asked()
        models = tuple(name.strip() for name in asked.models.split(",") if name.strip())
        if bool(models) != (asked.strategy is Strategy.FIXED):
            raise _refused("models and strategy FIXED belong together", "give both headers or neither")
        return Order(
            source=source,
            strategy=asked.strategy,
            n=asked.n,
            models=models,
            families=asked.families,
            priority=asked.priority,
            purpose=asked.purpose,
            seed=secrets.randbits(62),
            idempotency_key=asked.idempotency_key or self._key(),
            strict=asked.strict,
            at_least_one=True,
            who=who,
        )

    def records(self, stack: ExitStack, *, most: int, most_bytes: int) -> Iterator[Read]:
        """Its records, lazily; `most` of them, of `most_bytes` unpacked. Raises `InputError`."""
        kind = self.content_type.partition(";")[0].strip().lower()
        format_ = FORMATS.get(kind, InputFormat.auto)
        body = open_stream(stack, io.BytesIO(self.body), format_, shown=_SHOWN, most=most_bytes)
        return _at_most(most, read_inputs([body], per=self.asked().per))

    def _key(self) -> str:
        """Whatever is delivered twice has the same: the sender's id of it, or else what it says."""
        told = f"id {self.message_id}" if self.message_id else hashlib.sha256(self.body).hexdigest()
        return f"message {told}"


def _at_most(most: int, reads: Iterator[Read]) -> Iterator[Read]:
    for count, read in enumerate(reads, start=1):
        if count > most:
            raise TooLong("", None, f"there are more than the {most} records that are taken", "split it")
        yield read


def _refused(reason: str, remedy: str) -> InputError:
    return InputError("", None, reason, remedy)
