"""While things break: every accepted consultation ends exactly once, and nothing stored is paid again."""

from __future__ import annotations

import uuid
from typing import Any

from db.ids import new_id
from shared.broker import MESSAGE_VERSION
from tests.pipeline.conftest import Pipeline, vignettes


def ended_once(pipeline: Pipeline, submission: uuid.UUID, n: int) -> dict[str, Any]:
    """The one sentence that every scenario asserts; the counts of calls."""
    counts = pipeline.wait(submission)
    assert counts["completed"] + counts["needs_review"] + counts["failed"] + counts["cancelled"] == n
    assert counts["failed"] == 0
    conclusions = pipeline.ask(
        "SELECT count(*), count(DISTINCT k.consultation_id) FROM consensus k "
        "JOIN consultations c ON c.id = k.consultation_id WHERE c.submission_id = %s",
        submission,
    )
    assert conclusions == [(n, n)]
    events = pipeline.ask(
        "SELECT count(*) FROM outbox_events WHERE submission_id = %s AND consultation_id IS NOT NULL",
        submission,
    )
    assert events == [(n,)]
    early = pipeline.ask(
        "SELECT count(*) FROM owed_answers o JOIN consultations c ON c.id = o.consultation_id "
        "WHERE c.submission_id = %s AND o.state IN ('owed', 'void')",
        submission,
    )
    assert early == [(0,)], "nothing concluded before all answers were in"
    calls = pipeline.call_counts(submission)
    assert (calls["dup"], calls["overlap"]) == (0, 0)
    assert pipeline.panel("/ledger")["overlaps"] == 0
    return calls


def test_unknown_messages_do_no_harm(pipeline: Pipeline) -> None:
    """Ids that do not exist and a version of tomorrow are acknowledged; work goes on."""
    for name in ("generate", "review", "advance", "conclude", "announce"):
        queue = "remote" if name in ("generate", "review") else "conclude"
        for version in (MESSAGE_VERSION, MESSAGE_VERSION + 1):
            pipeline.sender.send_task(
                f"consilium.{name}", (version, str(new_id())), queue=queue, ignore_result=True
            )
    ended_once(pipeline, submission := pipeline.submit(vignettes(2)), 2)
    assert pipeline.ask("SELECT state FROM submissions WHERE id = %s", submission) == [("finished",)]


def test_a_seat_without_answer_is_excused_and_the_quorum_goes_on(pipeline: Pipeline) -> None:
    """One of three models always fails: its answer is excused with the reason, the other two conclude."""
    models = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")
    pipeline.panel("/control/faults", {"models": {models[0]: {"refusal": 1.0}}})
    submission = pipeline.submit(vignettes(4), strategy="FIXED", models=models)
    counts = pipeline.wait(submission)
    assert counts["completed"] + counts["needs_review"] == 4
    excused = pipeline.ask(
        "SELECT DISTINCT o.seat, o.reason FROM owed_answers o "
        "JOIN consultations c ON c.id = o.consultation_id "
        "WHERE c.submission_id = %s AND o.state = 'excused'",
        submission,
    )
    assert excused == [(0, "refused")]


def test_below_the_quorum_it_fails_with_its_reason(pipeline: Pipeline) -> None:
    """Two of three models always fail: failed, with the reason, and still one event each."""
    models = ("sim-alder-large", "sim-birch-large", "sim-cedar-large")
    pipeline.panel("/control/faults", {"models": {m: {"refusal": 1.0} for m in models[:2]}})
    submission = pipeline.submit(vignettes(2), strategy="FIXED", models=models)
    counts = pipeline.wait(submission)
    assert counts["failed"] == 2
    found = pipeline.ask(
        "SELECT DISTINCT c.reason, e.type FROM consultations c "
        "JOIN outbox_events e ON e.consultation_id = c.id "
        "WHERE c.submission_id = %s",
        submission,
    )
    assert found == [("no_quorum", "consultation.failed")]


def test_malformed_answers_are_repaired(pipeline: Pipeline) -> None:
    """Malformed answers get one repair request each; the raw answer is kept, nothing counts as paid twice."""
    pipeline.panel("/control/faults", {"malformed": 0.3})
    n = 6
    calls = ended_once(pipeline, submission := pipeline.submit(vignettes(n)), n)
    malformed = pipeline.ask(
        "SELECT count(*) FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id "
        "JOIN consultations c ON c.id = o.consultation_id "
        "WHERE c.submission_id = %s AND m.error_kind = 'malformed'",
        submission,
    )
    assert malformed[0][0] == calls["calls"] - 9 * n > 0


def test_a_local_only_source_is_read_by_local_models_alone(pipeline: Pipeline) -> None:
    """No remote model is called for a source whose policy says local."""
    name = f"house-{uuid.uuid4().hex[:8]}"
    pipeline.ask(
        'INSERT INTO sources (id, name, policy) VALUES (gen_random_uuid(), %s, \'{"allow": ["local"]}\') '
        "RETURNING id",
        name,
    )
    ended_once(pipeline, pipeline.submit(vignettes(4), source=name), 4)
    remote = pipeline.ask("SELECT name FROM model_versions WHERE location = 'remote'")
    called = {model for model, row in pipeline.panel("/ledger")["models"].items() if row["calls"]}
    assert called
    assert called.isdisjoint({m for (m,) in remote})
