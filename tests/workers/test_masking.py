"""Masking where it counts: what reaches a model's server, and what is stored of its answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shared.registry import Registry
from tests import accepted
from tests.accepted import ask, consultations_of, owed_by, recommendation, submit
from tests.workers.chat_server import Server, chat_servers, completion
from workers import answering
from workers.context import Context

RECORD = {
    "id": "masked-1",
    "vignette": "Mr. Kofi Wojcik, MRN 4711-22, was seen on 3/4/2021 with pneumonia. "
    "He lives in Ashtabula, Ohio.",
    "identity": {"names": ["Kofi Wojcik"], "identifiers": ["471122"], "date": "2021-03-18"},
}
SECRET = ("Wojcik", "Kofi", "4711", "3/4/2021", "Ashtabula")


@dataclass
class World:
    """A worker's context and what its models' server has seen."""

    server: Server
    ctx: Context

    def consult(self) -> list[uuid.UUID]:
        """Owed generations of one masked record."""
        submission = submit(self.ctx, [json.dumps(RECORD).encode()])
        return list(owed_by(self.ctx, consultations_of(self.ctx, submission)[0]))

    def sent(self) -> str:
        """The bodies of all requests."""
        return "\n".join(json.dumps(body, ensure_ascii=False) for _, _, body in self.server.requests)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """The world of one test; its models answer by placeholder."""
    with chat_servers() as start:
        server = start()
        server.body = completion(
            recommendation("amoxicillin", rationale="[NAME-1] has pneumonia, grade 1 of it.")
        )
        yield World(
            server, accepted.context(database_url, server.url, backoff_base_s=0.001, backoff_cap_s=0.002)
        )


def at(ctx: Context, location: str) -> Context:
    """The context with all models there."""
    models = [model.model_copy(update={"location": location}) for model in ctx.registry.values()]
    return replace(ctx, registry=Registry(models))


def stored(ctx: Context, kind: str) -> list[str]:
    """The opened documents of a kind."""
    with ctx.transaction() as session:
        return [
            ctx.vault.open(session, id_)
            for (id_,) in ask(ctx, f"SELECT id FROM clinical_documents WHERE kind = '{kind}'")
        ]


def test_a_remote_model_sees_nobody_and_its_answer_names_him(world: World) -> None:
    """Masked on the way out, counted; raw as it came, read with the name; a remote reviewer sees none."""
    ctx = at(world.ctx, "remote")
    first, second, _ = world.consult()
    for owed in (first, second):
        assert answering.answer(ctx, owed) is None
    assert [word for word in SECRET if word in world.sent()] == []
    assert "14 days before the visit" in world.sent()
    assert all("[NAME-1]" in raw for raw in stored(ctx, "raw_answer"))
    assert all("Kofi Wojcik has pneumonia" in read for read in stored(ctx, "recommendation"))
    assert ask(ctx, "SELECT masked FROM model_calls") == [(4,), (4,)]
    [(consultation, generation)] = ask(ctx, "SELECT consultation_id, id FROM generations WHERE seat = 1")
    review = _review(ctx, consultation, generation)
    world.server.body = completion(json.dumps({"grade": 0.5, "critique": "[NAME-1] needs more."}))
    assert answering.answer(ctx, review) is None
    assert [word for word in SECRET if word in world.sent()] == []
    assert "[NAME-1] has pneumonia" in json.dumps(world.server.requests[-1][2])
    assert stored(ctx, "critique") == ["Kofi Wojcik needs more."]


def _review(ctx: Context, consultation: uuid.UUID, generation: uuid.UUID) -> uuid.UUID:
    ask(
        ctx,
        "INSERT INTO owed_answers (id, source_id, consultation_id, kind, seat, occupancy, about, "
        "model_version_id, prompt_id) "
        "SELECT gen_random_uuid(), c.source_id, c.id, 'review', 2, 1, %s, s.model_version_id, "
        "c.review_prompt_id "
        "FROM consultations c JOIN seats s ON s.consultation_id = c.id AND s.seat = 2 WHERE c.id = %s",
        generation,
        consultation,
    )
    [(id_,)] = ask(ctx, "SELECT id FROM owed_answers WHERE kind = 'review' AND state = 'owed'")
    return uuid.UUID(str(id_))


class ThenStrict(dict[str, Any]):
    """An unreadable answer; while it is on its way the mask is put on, and what follows is readable."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(is_not="empty")
        self.ctx, self.asked = ctx, 0

    def items(self) -> Any:
        self.asked += 1
        if self.asked > 1:
            return completion(recommendation("amoxicillin")).items()
        ask(self.ctx, "UPDATE sources SET policy = jsonb_set(policy, '{mask}', '\"strict\"')")
        return completion("Mr. Wojcik needs amoxicillin.").items()


def test_a_repair_is_masked_as_well(world: World) -> None:
    """The unreadable answer goes back without names, though the mask was off when it came."""
    ctx, owed = at(world.ctx, "remote"), world.consult()[0]
    ask(ctx, "UPDATE sources SET policy = jsonb_set(policy, '{mask}', '\"off\"')")
    world.server.body = ThenStrict(ctx)
    assert answering.answer(ctx, owed) is None
    open_, repair = (json.dumps(body, ensure_ascii=False) for _, _, body in world.server.requests)
    assert "Wojcik" in open_
    assert "Mr. [NAME-1] needs amoxicillin." in repair
    assert [word for word in SECRET if word in repair] == []
    assert ask(ctx, "SELECT masked FROM model_calls ORDER BY claim") == [(None,), (5,)]


@pytest.mark.parametrize(
    ("location", "mask", "seen"),
    [
        ("local", "strict", SECRET),
        ("remote", "off", SECRET),
        ("remote", "structured", ("Ashtabula", "3/4/2021")),
    ],
)
def test_who_sees_what(world: World, location: str, mask: str, seen: tuple[str, ...]) -> None:
    """In the house all is shown; outside the policy decides, and NULL is counted where nothing was masked."""
    ctx, owed = at(world.ctx, location), world.consult()[0]
    ask(ctx, f"UPDATE sources SET policy = jsonb_set(policy, '{{mask}}', '\"{mask}\"')")
    assert answering.answer(ctx, owed) is None
    assert tuple(word for word in SECRET if word in world.sent()) == tuple(w for w in SECRET if w in seen)
    assert ask(ctx, "SELECT masked FROM model_calls") == [(2 if mask == "structured" else None,)]
