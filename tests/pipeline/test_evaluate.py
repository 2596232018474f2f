"""An evaluation through the running set: trained, interrupted, gone on with, measured; leaks refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db.engine import transaction
from producers.evaluation.measure import measured
from producers.evaluation.run import Leak, Run
from producers.evaluation.spec import SINGLE, TRAINING, Arm, Material, Meta, Spec, generated
from shared.registry import load_registry
from shared.settings import get_settings
from tests.pipeline.conftest import VIGNETTES, Pipeline

FIRST = b"\n".join(VIGNETTES.read_bytes().splitlines()[:4])
SPEC = Spec(Material("four examples", FIRST), strategies=("RANDOM", "REMOTE"), sizes=(2,), repeats=2)


class Evaluator:
    """Runs evaluations on the pipeline as the command does."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def run(self, spec: Spec, *, kind: type[Run] = Run, interrupt: str | None = None) -> tuple[Run, Meta]:
        """Go on to the end, or to the first word of progress on what `interrupt` names."""

        def progress(what: str, done: int, total: int) -> None:
            if what == interrupt and done < total:
                raise KeyboardInterrupt

        registry = load_registry(Path(self.pipeline.stack.environ["CONSILIUM_MODELS_FILE"]))
        made = kind(
            spec, settings=get_settings(), registry=registry, vault=self.pipeline.vault, progress=progress
        )
        return made, made.go_on()


class Halfway(Run):
    """Interrupted between two submissions."""

    def _submit(self, arm: Arm, repeat: int, *rest: object) -> uuid.UUID:
        if repeat == 2:
            raise KeyboardInterrupt
        return super()._submit(arm, repeat, *rest)  # type: ignore[arg-type]


@pytest.fixture
def evaluator(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluator]:
    """With the running set's settings in the environment."""
    for name, value in pipeline.stack.environ.items():
        if name.startswith("CONSILIUM_"):
            monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield Evaluator(pipeline)
    get_settings.cache_clear()


@pytest.mark.timeout(180)
def test_interrupted_and_gone_on_pays_nothing_twice(pipeline: Pipeline, evaluator: Evaluator) -> None:
    """Interrupted in training, between submissions and while waiting; every case ends once, paid once."""
    spec = replace(SPEC, train=generated(3, 7))
    pipeline.panel("/control/delay", {"seconds": 0.3})
    for kind, where in ((Run, "training"), (Halfway, None), (Run, "evaluating")):
        with pytest.raises(KeyboardInterrupt):
            evaluator.run(spec, kind=kind, interrupt=where)
    pipeline.panel("/control/delay", {"seconds": 0})
    made, meta = evaluator.run(spec)
    assert (meta.accepted, meta.ended, meta.lost, meta.paid_twice) == (16, 16, 0, 0)
    assert (meta.trained_on, meta.overlap, meta.simulated) == (3, 0, True)
    expected = 3 * 9 + 16 * 4  # trained at three seats, each answers and reviews two; then two seats each
    assert (meta.calls, pipeline.panel("/ledger")["total"]) == (expected, expected)
    again, repeated = evaluator.run(spec)
    assert (again.id, repeated) == (made.id, meta)
    assert pipeline.panel("/ledger")["total"] == expected
    frozen = pipeline.ask(
        "SELECT DISTINCT c.purpose, c.priority, c.reviewers_snapshot_id = e.reviewers_snapshot_id "
        "FROM evaluation_arms a JOIN evaluations e ON e.id = a.evaluation_id "
        "JOIN consultations c ON c.submission_id = a.submission_id "
        "WHERE a.evaluation_id = %s AND a.arm <> %s",
        made.id,
        TRAINING,
    )
    assert frozen == [("evaluation", 2, True)]


@pytest.mark.timeout(120)
def test_every_consultation_is_measured(pipeline: Pipeline, evaluator: Evaluator) -> None:
    """One row a consultation with who answered, times that add up, and age and sex from the vignette."""
    pipeline.panel("/control/faults", {"5xx": 0.1})
    spec = replace(SPEC, seed=2, strategies=("RANDOM", "CHEMISTRY"))
    made, meta = evaluator.run(spec)
    with transaction(pipeline.url) as session:
        rows = measured(session, made.id, pipeline.vault)
    assert len(rows) == meta.accepted == 16
    assert {row.arm for row in rows} == {"RANDOM n=2", "CHEMISTRY n=2"}
    assert {row.strategy for row in rows} == {"RANDOM", "CHEMISTRY"}
    assert len({row.vignette for row in rows}) == 4
    assert {row.case for row in rows} == {0, 1, 2, 3}
    assert {(row.case, row.age, row.sex) for row in rows} >= {(0, 38, "female"), (1, 24, "male")}
    for row in rows:
        assert row.wall_s is not None
        assert row.generation_s is not None
        assert row.review_s is not None
        assert row.generation_s + row.review_s == pytest.approx(row.wall_s)
        assert len(row.models) == row.seats_answered == 2
        assert row.state in ("completed", "needs_review")
        assert {"highest_graded", "majority", "refined"} <= set(row.lists)
        assert row.right == row.lists["refined"].right
        assert row.model_s > 0
    calls = meta.calls - sum(row.retries for row in rows)
    assert calls == 16 * 4, "each answer once, and what is beyond is a retry"


@pytest.mark.timeout(120)
def test_single_models_answer_alone(pipeline: Pipeline, evaluator: Evaluator) -> None:
    """Every model is an arm of its own: one answer, no review, the consensus is the answer."""
    one = Material("one example", FIRST.splitlines()[0])
    made, meta = evaluator.run(Spec(one, strategies=(SINGLE,), repeats=1, seed=3))
    with transaction(pipeline.url) as session:
        rows = measured(session, made.id, pipeline.vault)
    assert len(meta.arms) == len(rows) == meta.calls == 12
    assert {row.arm for row in rows} == {f"single {row.models[0]}" for row in rows}
    assert {(row.n, row.seats_answered, row.agreement, row.strategy) for row in rows} == {
        (1, 1, None, "FIXED")
    }
    assert all((row.seats_right == 1) == bool(row.right) for row in rows)


def test_training_on_the_test_is_refused(pipeline: Pipeline, evaluator: Evaluator) -> None:
    """One vignette in both, whatever else is said of it: refused before anything is stored."""
    before = pipeline.ask("SELECT count(*) FROM submissions")
    shared_one = FIRST.splitlines()[2].replace(b'"demo-03"', b'"renamed"')
    train = Material("train", generated(2, 9).content + shared_one)
    with pytest.raises(Leak, match="1 of the 4 vignettes"):
        evaluator.run(replace(SPEC, train=train))
    assert pipeline.ask("SELECT count(*) FROM submissions") == before
