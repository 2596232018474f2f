"""Safety at the end of a consultation: what the patient takes and cannot bear decides what is stored."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from celery import Celery

from shared.errors import SettingsError
from tests.accepted import ask, consultations_of, owed_by, recommendation, submit
from tests.workers.chat_server import Server, completion
from workers import answering, concluding, flow
from workers.context import Context


class Council:
    """Three seats that answer with the given lists and grade all alike."""

    def __init__(self, ctx: Context, app: Celery, server: Server) -> None:
        self.ctx, self.app, self.server = ctx, app, server

    def accept(self, context: dict[str, Any], **order: Any) -> uuid.UUID:
        """One consultation on a patient of this context, all answers still owed."""
        told = {"id": "one", "vignette": "A patient in pain asks for something to take.", "context": context}
        return consultations_of(self.ctx, submit(self.ctx, [json.dumps(told).encode()], **order))[0]

    def answer(self, consultation: uuid.UUID, *given: tuple[str, ...] | str) -> None:
        """All answers, as lists of names or as a model wrote them, and all grades."""
        for owed_id, one in zip(owed_by(self.ctx, consultation), given, strict=True):
            self.server.body = completion(one if isinstance(one, str) else recommendation(*one))
            assert answering.answer(self.ctx, owed_id) is None
        flow.go_on(self.ctx, self.app, consultation)
        for owed_id in owed_by(self.ctx, consultation, "review"):
            self.server.body = completion(json.dumps({"grade": 0.6, "critique": "fair"}))
            assert answering.answer(self.ctx, owed_id) is None

    def concluded(
        self, context: dict[str, Any], *lists: tuple[str, ...], **order: Any
    ) -> tuple[dict[str, Any], str, str | None]:
        """The consensus row, the state and its reason."""
        consultation = self.accept(context, **order)
        self.answer(consultation, *lists)
        concluding.conclude(self.ctx, consultation)
        [(row, state, reason)] = ask(
            self.ctx,
            "SELECT to_jsonb(k), c.state, c.reason FROM consensus k "
            "JOIN consultations c ON c.id = k.consultation_id WHERE c.id = %s",
            consultation,
        )
        return row, state, reason


@pytest.fixture
def council(ctx: Context, app: Celery, server: Server) -> Council:
    """A council on this database."""
    return Council(ctx, app, server)


WARFARIN = {"medications": [{"name": "Coumadin 5 mg"}], "conditions": ["atrial fibrillation"]}


def test_what_interacts_with_what_the_patient_takes_leaves(council: Council) -> None:
    """The majority wants ibuprofen beside warfarin: it is removed, the trace says why, by which tables."""
    row, _, _ = council.concluded(
        WARFARIN, ("Advil 400 mg", "acetaminophen"), ("ibuprofen", "acetaminophen"), ("acetaminophen",)
    )
    assert row["majority"] == ["acetaminophen", "ibuprofen"]
    assert row["refined"] == ["acetaminophen"]
    assert row["method"] == "exact"
    [edit] = row["trace"]
    assert (edit["kind"], edit["removed"]) == ("removed", ["ibuprofen"])
    assert {"drug", "other"} & set(edit["because"][0])
    assert "warfarin" in {edit["because"][0]["drug"], edit["because"][0]["other"]}
    assert row["refinement"]["problem"]["current"] == ["warfarin"]
    assert len(row["refinement"]["problem"]["knowledge"]) == 64
    assert row["refinement"]["utility"]["severity"] > row["refinement"]["start"]["severity"]


def test_how_a_drug_is_given_matters(ctx: Context, council: Council) -> None:
    """Diclofenac on the skin is not diclofenac by mouth: it stays beside warfarin, as a minor finding."""
    gel = json.dumps(
        {
            "decision": "recommend",
            "medications": [{"name": "diclofenac 1 % gel", "action": "start", "route": "topical"}],
        }
    )
    consultation = council.accept(WARFARIN)
    council.answer(consultation, *[gel] * 3)
    concluding.conclude(ctx, consultation)
    [(refined, findings)] = ask(ctx, "SELECT refined, findings FROM consensus")
    assert refined == ["diclofenac"]
    assert [f["severity"] for f in findings if "warfarin" in (f["drug"], f["other"])] == ["minor"]


def test_a_dial_of_the_submission_decides(council: Council) -> None:
    """With severity 0 the same drug stays, with what was found of it; no dial keeps what is barred."""
    row, _, _ = council.concluded(
        WARFARIN, ("ibuprofen",), ("ibuprofen",), ("acetaminophen",), dials={"severity": 0.0}
    )
    assert "ibuprofen" in row["refined"]
    assert {"warfarin", "ibuprofen"} in [{f["drug"], f["other"]} for f in row["findings"]]
    nitrate = {"medications": [{"name": "nitroglycerin"}]}
    row, _, _ = council.concluded(
        nitrate, ("sildenafil",), ("sildenafil", "aspirin"), ("aspirin",), dials={"severity": 0.0}
    )
    assert row["majority"] == ["aspirin", "sildenafil"]
    assert row["refined"] == ["aspirin"]


def test_a_bad_dial_is_refused_at_the_door(ctx: Context, council: Council) -> None:
    """A negative dial is an error of the batch, and nothing is stored."""
    with pytest.raises(SettingsError, match="severity"):
        council.accept({}, dials={"severity": -1.0})
    assert ask(ctx, "SELECT count(*) FROM submissions") == [(0,)]


def test_an_allergy_against_the_majority_is_for_a_person(council: Council) -> None:
    """Two of three want what the patient must not have: it is not on the list, and a person looks."""
    row, state, reason = council.concluded(
        {"allergies": ["penicillin"]},
        ("Augmentin 875/125 mg",),
        ("amoxicillin", "azithromycin"),
        ("azithromycin",),
    )
    assert not {"amoxicillin", "clavulanate"} & set(row["refined"])
    assert (state, reason) == ("needs_review", "allergy_against_majority")


def test_no_feasible_list_is_for_a_person(council: Council) -> None:
    """Nothing that was proposed may be given: the list is empty, and that is said."""
    row, state, _ = council.concluded(
        {"allergies": ["amoxicillin"]}, ("amoxicillin",), ("amoxicillin",), ("Amoxil",)
    )
    assert (row["refined"], state, row["rule"]) == ([], "needs_review", "no_feasible_list")


def test_what_the_patient_takes_already_may_be_for_a_person(council: Council) -> None:
    """Two current drugs that never go together remain a finding, which no list can mend."""
    row, state, _ = council.concluded(
        {"medications": [{"name": "Viagra"}, {"name": "isosorbide mononitrate"}]},
        *[("acetaminophen",)] * 3,
    )
    assert row["refined"] == ["acetaminophen"]
    assert (state, row["rule"]) == ("needs_review", "severe_finding")


def test_an_erased_patient_is_cancelled(ctx: Context, council: Council) -> None:
    """Without its text nobody knows what is safe: the consultation ends as cancelled, with an event."""
    consultation = council.accept({})
    council.answer(consultation, *[("acetaminophen",)] * 3)
    ask(ctx, "UPDATE clinical_documents SET key_id = NULL WHERE consultation_id = %s", consultation)
    concluding.conclude(ctx, consultation)
    assert ask(ctx, "SELECT state, reason, stage FROM consultations") == [("cancelled", "erased", "ended")]
    assert ask(ctx, "SELECT type FROM outbox_events") == [("consultation.cancelled",)]
    assert ask(ctx, "SELECT count(*) FROM consensus") == [(0,)]
