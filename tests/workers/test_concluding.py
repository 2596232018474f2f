"""The end of a consultation: once, whole or not at all, and the same again from what is stored."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest
from celery import Celery

from db.queries import calibration, snapshots
from shared.calibration import Calibrator, Features, Isotonic, Report
from shared.consensus import Conclusion, Grade, SeatAnswer, as_detail, conclude_from
from shared.memory import Memory
from tests.accepted import ask, consultations_of, owed_by, recommendation, submit
from tests.workers.chat_server import Server, completion
from workers import answering, concluding, flow
from workers.context import Context


def answered(ctx: Context, app: Celery, server: Server, *lists: tuple[str, ...]) -> uuid.UUID:
    """A consultation whose three seats have answered with these lists."""
    consultation = consultations_of(ctx, submit(ctx))[0]
    for owed_id, drugs in zip(owed_by(ctx, consultation), lists, strict=True):
        decision = "recommend" if drugs else "no_medication"
        server.body = completion(recommendation(*drugs, decision=decision))
        assert answering.answer(ctx, owed_id) is None
    flow.go_on(ctx, app, consultation)
    return consultation


def review(ctx: Context, server: Server, owed_ids: list[uuid.UUID], first: int = 0) -> None:
    """These reviews are given, with grades that differ."""
    for number, owed_id in enumerate(owed_ids, start=first):
        server.body = completion(json.dumps({"grade": round(0.31 + 0.113 * number, 3), "critique": "fair"}))
        assert answering.answer(ctx, owed_id) is None


def reviewed(ctx: Context, app: Celery, server: Server) -> uuid.UUID:
    """A consultation to which nothing but its conclusion is missing."""
    consultation = answered(
        ctx, app, server, ("amoxicillin",), ("amoxicillin", "ibuprofen"), ("doxycycline", "ibuprofen")
    )
    review(ctx, server, owed_by(ctx, consultation, "review"))
    return consultation


TABLES = ("consensus", "interactions", "outbox_events")


def stored(ctx: Context) -> dict[str, list[Any]]:
    """All that a conclusion writes."""
    tables = {t: ask(ctx, f"SELECT to_jsonb(x) FROM {t} x ORDER BY to_jsonb(x)::text") for t in TABLES}
    return tables | {"consultations": ask(ctx, "SELECT to_jsonb(c) FROM consultations c")}


def test_concluded_once_whoever_comes_again(ctx: Context, app: Celery, server: Server) -> None:
    """Eight copies at once, another later: one consensus, a row a seat, one event, nothing touched again."""
    consultation = reviewed(ctx, app, server)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: concluding.conclude(ctx, consultation), range(8)))
    first = stored(ctx)
    assert [len(first[t]) for t in TABLES] == [1, 3, 1]
    [(state, stage)] = ask(ctx, "SELECT state, stage FROM consultations")
    assert state in ("completed", "needs_review")
    assert stage == "ended"
    assert ask(ctx, "SELECT type FROM outbox_events") == [(f"consultation.{state}",)]
    concluding.conclude(ctx, consultation)
    flow.go_on(ctx, app, consultation)
    assert stored(ctx) == first


def test_early_and_out_of_order_changes_nothing(ctx: Context, app: Celery, server: Server) -> None:
    """Before the answers, before the last review, for no consultation at all: nothing happens."""
    consultation = consultations_of(ctx, submit(ctx))[0]
    before = stored(ctx)
    concluding.conclude(ctx, consultation)
    concluding.conclude(ctx, uuid.uuid4())
    assert stored(ctx) == before
    consultation = answered(ctx, app, server, ("amoxicillin",), ("amoxicillin",), ("doxycycline",))
    reviews = owed_by(ctx, consultation, "review")
    for given, missing in itertools.pairwise(range(len(reviews) + 1)):
        before = stored(ctx)
        concluding.conclude(ctx, consultation)
        assert stored(ctx) == before, "something is still owed"
        review(ctx, server, reviews[given:missing], first=given)
    concluding.conclude(ctx, consultation)
    assert len(stored(ctx)["consensus"]) == 1


def test_two_copies_of_advance_owe_each_review_once(ctx: Context, app: Celery, server: Server) -> None:
    """Whoever fixes the reviews, they are N·(N−1), each pair once."""
    consultation = answered(ctx, app, server, ("amoxicillin",), ("amoxicillin",), ("doxycycline",))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: flow.go_on(ctx, app, consultation), range(4)))
    owed = "SELECT seat, about FROM owed_answers WHERE kind = 'review'"
    rows = ask(ctx, owed)
    assert len(rows) == len(set(rows)) == 6


@pytest.mark.parametrize("broken", ["history_rows", "consultations.end", "owed_answers.void_rest"])
def test_killed_in_the_middle_stores_nothing(
    ctx: Context, app: Celery, server: Server, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever is cut off, consensus, history and event are stored together; the next copy does all of it."""
    consultation = reviewed(ctx, app, server)
    before = stored(ctx)

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"workers.concluding.{broken}", killed)
        with pytest.raises(KeyboardInterrupt):
            concluding.conclude(ctx, consultation)
    assert stored(ctx) == before
    concluding.conclude(ctx, consultation)
    assert [len(stored(ctx)[t]) for t in TABLES] == [1, 3, 1]


def replay(ctx: Context, consultation: uuid.UUID) -> Conclusion:
    """The conclusion, from stored rows alone."""
    answers = [
        SeatAnswer(seat, occupancy, str(model), family, decision, frozenset(starts), frozenset(stops))
        for seat, occupancy, model, family, decision, starts, stops in ask(
            ctx,
            "SELECT g.seat, g.occupancy, g.model_version_id, m.family, g.decision, g.starts, g.stops "
            "FROM generations g JOIN model_versions m ON m.id = g.model_version_id "
            "WHERE consultation_id = %s ORDER BY g.id DESC",
            consultation,
        )
    ]
    grades = [
        Grade(*edge)
        for edge in ask(
            ctx,
            "SELECT r.seat, g.seat, r.grade FROM reviews r JOIN generations g ON g.id = r.generation_id "
            "WHERE r.consultation_id = %s ORDER BY r.id DESC",
            consultation,
        )
    ]
    [(kind, snapshot_id)] = ask(
        ctx,
        "SELECT c.kind, k.snapshot_id FROM consultations c JOIN consensus k ON k.consultation_id = c.id",
    )
    with ctx.transaction() as session:
        memory = Memory.from_json(snapshots.by_id(session, snapshot_id).body)
    return conclude_from(answers, grades, memory, kind=kind)


def test_replayed_bit_for_bit(ctx: Context, app: Celery, server: Server) -> None:
    """From stored answers, grades and memory the stored consensus comes again: every float, every list."""
    consultation = reviewed(ctx, app, server)
    concluding.conclude(ctx, consultation)
    again = replay(ctx, consultation)
    [(row,)] = ask(ctx, "SELECT to_jsonb(k) FROM consensus k")
    # PostgreSQL and JSON write floats so that they read back the same, so == compares every bit
    expected = json.loads(json.dumps({**asdict(again), "detail": as_detail(again)}))
    for column in ("form", "grade", "variance", "agreement", "confidence", "rule", "detail", "support"):
        assert row[column] == expected[column], column
    for column in ("highest_graded", "majority", "refined", "stops", "minority"):
        assert row[column] == expected[column], column
    assert row["majority"] == ["amoxicillin", "ibuprofen"]
    assert row["minority"] == ["doxycycline"]


def test_no_answer_of_ours_is_shown_to_its_author(ctx: Context, app: Celery, server: Server) -> None:
    """What the models were sent: nobody's own answer for review, and no reviewer sees a name."""
    reviewed(ctx, app, server)
    reviews = [
        body for _, _, body in server.requests if "review" in body["response_format"]["json_schema"]["name"]
    ]
    assert len(reviews) == 6
    for body in reviews:
        text = " ".join(message["content"] for message in body["messages"])
        assert not any(name in text for name in ctx.registry.names())
    own = "SELECT count(*) FROM reviews r JOIN generations g ON g.id = r.generation_id WHERE g.seat = r.seat"
    assert ask(ctx, own) == [(0,)]


def fixed_calibrator(ctx: Context, consultation: uuid.UUID, probability: float, why_not: str | None) -> None:
    """The consultation was accepted with a calibrator that states this whatever it sees."""
    calibrator = Calibrator(
        model=Isotonic("grade", (0.0,), (probability,)),
        definition="list-1",
        vignettes={"fit": 1, "choose": 1, "test": 1},
        chosen_by={},
        report=Report(1, 1, 0.0, 0.1, 0.1, 0.2, 0.2, (-0.1, -0.1), (-0.1, -0.1), why_not),
    )
    with ctx.transaction() as session:
        id_ = snapshots.add(
            session,
            kind="calibration",
            form=calibrator.form,
            parameters={},
            purposes=["evaluation"],
            span_from=None,
            span_to=None,
            rows_read=3,
            digest="0" * 64,
            body=calibrator.to_json(),
        )
    ask(ctx, "UPDATE consultations SET calibration_snapshot_id = %s WHERE id = %s", id_, consultation)


@pytest.mark.parametrize(
    ("probability", "why_not", "expected"),
    [
        (0.73, None, (0.73, None)),
        (0.49, None, (0.49, "low_confidence")),
        (0.49, "calibration error above its noise", (None, None)),
    ],
)
def test_confidence_comes_from_the_calibrator_fixed_at_acceptance(
    ctx: Context,
    app: Celery,
    server: Server,
    probability: float,
    why_not: str | None,
    expected: tuple[float | None, str | None],
) -> None:
    """It is stored and decides whether a person looks; one that failed its test says nothing."""
    consultation = answered(ctx, app, server, *[("amoxicillin",)] * 3)
    review(ctx, server, owed_by(ctx, consultation, "review"))
    fixed_calibrator(ctx, consultation, probability, why_not)
    concluding.conclude(ctx, consultation)
    assert ask(ctx, "SELECT confidence, rule FROM consensus") == [expected]


@pytest.mark.parametrize(("drug", "expected"), [("amoxicillin", True), ("metformin", False)])
def test_whether_it_was_right_is_stored_and_becomes_a_case(
    ctx: Context, app: Celery, server: Server, drug: str, expected: bool
) -> None:
    """Where gold is known, and with the features as they were; without an outcome it is none."""
    consultation = answered(ctx, app, server, (drug,), (drug,), ("ibuprofen",))
    review(ctx, server, owed_by(ctx, consultation, "review"))
    concluding.conclude(ctx, consultation)
    [(was_right, grade, variance, agreed, detail)] = ask(
        ctx, "SELECT was_right, grade, variance, agreement, detail FROM consensus"
    )
    assert was_right is expected
    measures = [r["reliability"] for r in detail["reviewers"].values()]
    with ctx.transaction() as session:
        [case] = calibration.cases(session, ["evaluation"])
        assert calibration.cases(session, ["care"]) == []
    assert case.right is expected
    assert case.features == Features(grade, variance, agreed, pytest.approx(sum(measures) / 3), 3)
    assert case.features.row() is not None
    ask(ctx, "UPDATE consensus SET was_right = NULL")
    with ctx.transaction() as session:
        assert calibration.cases(session, ["evaluation"]) == []


def test_the_length_that_a_reviewer_was_shown_is_stored(ctx: Context, app: Celery, server: Server) -> None:
    """Of the answer as it was rendered, the same for both reviewers of one answer."""
    reviewed(ctx, app, server)
    rows = ask(ctx, "SELECT generation_id, shown_characters FROM reviews")
    assert len(rows) == 6
    assert len(set(rows)) == 3
    prompts = [body["messages"][-1]["content"] for _, _, body in server.requests[3:]]
    for _, characters in rows:
        assert any(characters in _fenced(p) for p in prompts)


def _fenced(prompt: str) -> set[int]:
    """Lengths of what stands between the fences of a review prompt."""
    found = re.search(r"^<<<([0-9a-f]+)$\n(.*?)\n^\1>>>$", prompt, re.DOTALL | re.MULTILINE)
    assert found is not None
    return {len(found[2])}
