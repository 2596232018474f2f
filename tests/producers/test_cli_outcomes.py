"""`consilium outcomes`: gold and clinicians' lists of own consultations, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embedded.services import Services
from producers.cli.outcomes import app
from shared.settings import get_settings
from tests.stored import Stored


class Outcomes:
    """The command on a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, content: str, code: int = 0) -> str:
        """Import a file of this content."""
        path = self.folder / "outcomes"
        path.write_text(content)
        return self.run("import", str(path), code=code)

    def run(self, *words: str, code: int = 0) -> str:
        """Standard output, then error."""
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout + result.stderr


@pytest.fixture
def stored(database_url: str, services: Services, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """A database that the command works on."""
    monkeypatch.setenv("CONSILIUM_DATABASE_URL", database_url)
    monkeypatch.setenv("CONSILIUM_SITE_KEY", services.addresses.site_key or "")
    get_settings.cache_clear()
    return Stored(database_url, services.addresses.site_key or "")


@pytest.fixture
def outcomes(stored: Stored, tmp_path: Path) -> Outcomes:
    """The command."""
    return Outcomes(tmp_path)


def concluded(stored: Stored) -> tuple[str, str]:
    """A submission and its consultation whose seats all start aspirin."""
    submission, [consultation] = stored.submit()
    for owed in stored.owed(consultation):
        stored.answer(owed)
    stored.ask(
        "INSERT INTO interactions (consultation_id, source_id, seat, occupancy, model_version_id, kind, "
        "purpose) SELECT consultation_id, source_id, seat, occupancy, model_version_id, 'x', 'care' "
        "FROM seats WHERE consultation_id = %s",
        consultation,
    )
    stored.ask(
        "INSERT INTO consensus (consultation_id, source_id, form, snapshot_id, support, detail, refined) "
        "SELECT id, source_id, 'mean', reviewers_snapshot_id, '{}', '{}', '{aspirin}' FROM consultations "
        "WHERE id = %s",
        consultation,
    )
    return str(submission), str(consultation)


def learned(stored: Stored) -> tuple[list[float | None], bool | None]:
    """Generation accuracies by seat, and whether the consensus was right."""
    [(was_right,)] = stored.ask("SELECT was_right FROM consensus")
    rows = stored.ask("SELECT generation_accuracy FROM interactions ORDER BY seat")
    return [accuracy for (accuracy,) in rows], was_right


def test_gold_and_then_a_clinicians_list(outcomes: Outcomes, stored: Stored) -> None:
    """Each new outcome is the one that counts; the same twice adds nothing; all is audited."""
    submission, consultation = concluded(stored)
    assert learned(stored) == ([None] * 3, None)
    gold = {"consultation": consultation, "gold": {"required": [{"any_of": ["ASA", "ibuprofen"]}]}}
    assert "1 outcomes added, 0 known before, 0 set aside" in outcomes.load(json.dumps(gold))
    assert learned(stored) == ([1, 1, 1], True)
    assert "0 outcomes added, 1 known" in outcomes.load(json.dumps(gold))
    line = f"submission,line,list\n{submission},1,aspirin; simvastatin\n"
    assert "1 outcomes added" in outcomes.load(line)
    assert learned(stored) == ([0, 0, 0], False)
    assert stored.ask("SELECT kind, gold FROM outcomes ORDER BY known_at") == [
        ("gold", {"required": [{"any_of": ["aspirin", "ibuprofen"]}], "acceptable": [], "never": []}),
        (
            "clinician",
            {
                "required": [{"any_of": ["aspirin"]}, {"any_of": ["simvastatin"]}],
                "acceptable": [],
                "never": [],
            },
        ),
    ]
    assert "0 outcomes added, 1 known" in outcomes.load(line)
    assert {what for _, what, _ in stored.audited()} == {"outcomes.import"}
    [shown] = json.loads(outcomes.run("show", "--format", "json"))
    assert shown == {
        "purpose": "care",
        "concluded": 1,
        "with_outcome": 1,
        "gold": 1,
        "clinician": 1,
        "imported": 0,
        "accepted": 0,
        "edited": 0,
        "rejected": 0,
        "grade_with": None,
        "grade_without": None,
        "agreement_with": None,
        "agreement_without": None,
        "drugs_with": 1.0,
        "drugs_without": None,
        "share": 1.0,
    }


def test_those_with_an_outcome_are_compared_with_the_rest(outcomes: Outcomes, stored: Stored) -> None:
    """Means of grade, agreement and number of drugs on either side, by purpose."""
    chosen = [concluded(stored)[1] for _ in range(3)]
    for number, id_ in enumerate(chosen):
        stored.ask(
            "UPDATE consensus SET grade = %s, agreement = %s, refined = %s WHERE consultation_id = %s",
            *(0.9 - number / 10, 0.8 - number / 4, ["aspirin"] * (number + 1), id_),
        )
    outcomes.load(json.dumps({"consultation": chosen[0], "list": ["aspirin"]}))
    [row] = json.loads(outcomes.run("show", "--format", "json"))
    assert (row["concluded"], row["with_outcome"], row["share"]) == (3, 1, pytest.approx(1 / 3))
    assert (row["grade_with"], row["agreement_with"], row["drugs_with"]) == (0.9, 0.8, 1)
    assert row["grade_without"] == pytest.approx(0.75)
    assert row["agreement_without"] == pytest.approx(0.425)
    assert row["drugs_without"] == 2.5
    shown = " ".join(outcomes.run("show").split())
    assert "how those with an outcome differ from the rest" in shown
    assert "care with 1" in shown
    assert "care without 2" in shown


def test_bad_lines_are_set_aside(outcomes: Outcomes, stored: Stored) -> None:
    """Line, field and reason of each, never its content; the good one between them is stored."""
    _, consultation = concluded(stored)
    unknown = "00000000-0000-0000-0000-000000000000"
    lines = [
        '{"consultation": "secret", "list": []}',
        json.dumps({"consultation": unknown, "list": []}),
        json.dumps({"consultation": consultation, "list": ["aspirin"]}),
        json.dumps({"consultation": consultation, "gold": {"required": [{"any": ["secret"]}]}}),
        json.dumps({"consultation": consultation}),
        json.dumps({"consultation": consultation, "list": "secret"}),
        json.dumps({"submission": unknown, "list": []}),
        json.dumps({"consultation": consultation, "list": [], "secret": 1}),
        '{"secret',
    ]
    said = outcomes.load("\n".join(lines), code=6)
    assert "1 outcomes added, 0 known before, 8 set aside" in said
    assert "secret" not in said
    for where in (
        "line 1, consultation: is not an id",
        "line 2, consultation: there is no such",
        "line 4, gold.required.0: is not gold",
        "line 5, gold: exactly one",
        "line 6, list: is a list",
        "line 7, line: is not a line",
        "line 8: there are only",
        "line 9: is not JSON",
    ):
        assert where in said
    assert stored.ask("SELECT count(*) FROM outcomes") == [(1,)]


def test_what_still_runs_keeps_its_outcome(outcomes: Outcomes, stored: Stored) -> None:
    """An outcome may come before the conclusion; of CSV the bad lines are told by the record's first line."""
    _, [consultation] = stored.submit()
    content = (
        f'consultation,gold,kind\n{consultation},"{{""acceptable"": [""aspirin""]}}",clinician\n\nx,"{{",\n'
    )
    said = outcomes.load(content, code=6)
    assert "1 outcomes added" in said
    assert "line 4, gold: is not JSON" in said
    assert outcomes.run("show") == "no consultation is concluded yet\n"
