"""The claim over many histories, and the texts that a claim may end with."""

from __future__ import annotations

import ast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from db.queries import owed_answers
from db.queries.owed_answers import Usage
from db.tables import Base
from shared.errors import ModelError
from tests import accepted
from tests.accepted import ROOT, calls, claim, one_owed, row, run_out, settle
from workers.context import Context


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A worker's context on a fresh database."""
    return accepted.context(database_url)


REASONS = {"release", "excuse", "end", "close_call", "Fail", "_failed"}


def reasons() -> set[str]:
    """Every short text that the code gives as a reason: literals in the calls that store one, error kinds."""
    found = {kind.kind for kind in ModelError.__subclasses__()} | {ModelError.kind}
    for path in [*(ROOT / "workers").rglob("*.py"), *(ROOT / "shared").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                given = [*node.args, *(k.value for k in node.keywords)] if called in REASONS else []
            elif isinstance(node, ast.Return) and path.name in ("consensus.py", "peer_grading.py"):
                given = [node.value] if node.value else []
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
                given = [node.value]
            else:
                continue
            texts = (n for one in given for n in ast.walk(one) if isinstance(n, ast.Constant))
            found |= {n.value for n in texts if isinstance(n.value, str)}
    return found


def test_every_reason_fits_its_column(ctx: Context) -> None:
    """Whatever the code stores as a reason is shorter than the column that takes it."""
    found = reasons()
    assert {
        "crashed",
        "unknown_model",
        "policy",
        "erased",
        "malformed",
        "bug",
        "expired",
        "no_quorum",
    } <= found
    assert {"rate_limited", "given_up", "low_agreement", "fewer_than_two_recommend"} <= found
    columns = [
        ("owed_answers", "reason"),
        ("consultations", "reason"),
        ("consultations", "held"),
        ("model_calls", "error_kind"),
        ("consensus", "rule"),
        ("consensus", "form"),
    ]
    shortest = min(Base.metadata.tables[t].c[c].type.length for t, c in columns)  # type: ignore[attr-defined]
    assert max(map(len, found)) <= shortest
    owed_id = one_owed(ctx)
    assert claim(ctx, owed_id) is not None
    with ctx.transaction() as session:
        for reason in found:
            owed_answers.release(session, owed_id, 1, reason=reason, counted=False)


def test_many_histories_keep_the_invariants(ctx: Context) -> None:
    """Any order of claims, ends, crashes and late settlings keeps what one row promises."""
    rows = iter(
        [
            o
            for c in accepted.consultations_of(ctx, accepted.submit(ctx, 20))
            for o in accepted.owed_by(ctx, c)
        ]
    )

    class History(RuleBasedStateMachine):
        """One owed answer and those who hold, or once held, a claim on it."""

        def __init__(self) -> None:
            super().__init__()
            self.owed_id = next(rows)
            self.now = row(ctx, self.owed_id)
            self.live = False
            self.ever: list[int] = []
            self.tries = self.crashes = 0
            self.settled = 0

        @rule(quarantine=st.booleans())
        def claim(self, quarantine: bool) -> None:
            expired = self.now["claimed_until"] is not None and not self.live
            below = 3 if quarantine else 2
            may = self.now["state"] == "owed" and not self.live and self.crashes + expired < below
            won = claim(ctx, self.owed_id, quarantine=quarantine)
            assert (won is not None) == may
            if won is not None:
                self.crashes += expired
                self.live = True
                self.ever.append(won.claim)

        @precondition(lambda self: self.live)
        @rule()
        def crash(self) -> None:
            run_out(ctx, self.owed_id)
            self.live = False

        def _is_ours(self, number: int) -> bool:
            return bool(self.now["state"] == "owed" and number == self.ever[-1])

        @precondition(lambda self: self.ever)
        @rule(data=st.data(), counted=st.booleans(), excuse=st.sampled_from([False, False, False, True]))
        def release(self, data: st.DataObject, counted: bool, excuse: bool) -> None:
            number = data.draw(st.sampled_from(self.ever))
            if self._is_ours(number):
                self.tries += counted
                self.live = False
            with ctx.transaction() as session:
                owed_answers.release(
                    session, self.owed_id, number, reason="unavailable", counted=counted, excuse=excuse
                )

        @precondition(lambda self: self.ever)
        @rule(data=st.data())
        def give_back(self, data: st.DataObject) -> None:
            number = data.draw(st.sampled_from(self.ever))
            if self._is_ours(number):
                self.live = False
            with ctx.transaction() as session:
                owed_answers.close_call(session, self.owed_id, number, "given_up", Usage())
                owed_answers.give_back(session, self.owed_id, number)

        @precondition(lambda self: self.ever)
        @rule(data=st.data())
        def settle(self, data: st.DataObject) -> None:
            number = data.draw(st.sampled_from(self.ever))
            ours = self._is_ours(number)
            assert settle(ctx, self.owed_id, number) == ours
            self.settled += ours
            self.live = self.live and not ours

        @invariant()
        def holds(self) -> None:
            before, self.now = self.now, row(ctx, self.owed_id)
            now = self.now
            made = calls(ctx, self.owed_id)
            assert now["claims"] == len(self.ever) >= len(made)
            assert [number for number, *_ in made] == sorted({number for number, *_ in made})
            assert sum(outcome is None for _, outcome, *_ in made) <= 1
            assert self.settled == (now["state"] == "answered") <= 1
            assert (now["tries"], now["crashes"]) == (self.tries, self.crashes)
            assert now["tries"] >= before["tries"]
            assert now["crashes"] >= before["crashes"]
            if before["state"] != "owed":
                assert now == before

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
