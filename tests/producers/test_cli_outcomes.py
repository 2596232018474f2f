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
        path.write_bytes(content.encode(errors="surrogateescape"))
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


def test_a_line_of_csv_takes_no_other_along(outcomes: Outcomes, stored: Stored) -> None:
    """An open quote and bytes that are no UTF-8 set their own line aside; what stands behind is stored."""
    _, consultations = stored.submit(4)
    ids = list(map(str, consultations))
    content = "\n".join(
        [
            "consultation,list",
            f'{ids[0]},"metoprolol',
            f"{ids[1]},aspirin",
            f'{ids[2]},m\udce9toprolol"',
            f'{ids[2]},"aspi\rrin"',
            f"{ids[3]},warfarin;foozumab",
            f"{ids[2]},{'aspirin;' * 40_000}",
        ]
    )
    said = " ".join(outcomes.load(content, code=6).split())
    assert "2 outcomes added, 0 known before, 4 set aside" in said
    assert "line 2: its quotes do not match" in said
    assert "line 4: is not UTF-8: save" in said
    assert "line 5: its quotes do not match, or a cell holds a line break" in said
    assert "line 7: is longer than" in said
    assert "1 names not in the table of drugs (lines 6)" in said
    kept = stored.ask("SELECT consultation_id::text, gold FROM outcomes ORDER BY known_at")
    assert [id_ for id_, _ in kept] == [ids[1], ids[3]]
    assert kept[0][1]["required"] == [{"any_of": ["aspirin"]}]
    path = outcomes.folder / "outcomes"
    [told] = json.loads(outcomes.run("import", str(path), "--format", "json", code=6))
    assert told["not_in_table"] == [{"line": 6, "names": 1}]


def test_names_that_are_no_text_cost_their_line(outcomes: Outcomes, stored: Stored) -> None:
    """A lone surrogate passes JSON and no database: the lines before and after it are stored."""
    _, consultations = stored.submit(2)
    lines = [json.dumps({"consultation": str(id_), "list": ["aspirin"]}) for id_ in consultations]
    bad = json.dumps({"consultation": str(consultations[0]), "list": ["\ud800"]})
    said = outcomes.load("\n".join([lines[0], bad, lines[1]]), code=6)
    assert "2 outcomes added, 0 known before, 1 set aside" in said
    assert "line 2, list: is a list of names" in said


def test_no_drug_was_given(outcomes: Outcomes, stored: Stored) -> None:
    """In CSV an empty cell says so; beside a column gold it could mean either, and the remedy is told."""
    _, consultation = concluded(stored)
    assert "1 outcomes added" in outcomes.load(f"consultation,list\n{consultation},\n")
    assert stored.ask("SELECT kind, gold FROM outcomes") == [
        ("clinician", {"required": [], "acceptable": [], "never": []})
    ]
    assert learned(stored) == ([0, 0, 0], False)
    said = " ".join(outcomes.load(f"consultation,list,gold\n{consultation},,\n", code=6).split())
    assert "line 2, gold: exactly one" in said
    assert "in CSV an empty cell where there is no column gold" in said


def test_gold_that_no_list_can_meet_is_set_aside(outcomes: Outcomes, stored: Stored) -> None:
    """Required and never at once, under whatever name; a combination that is required needs all of it."""
    _, consultation = concluded(stored)
    gold = {"required": [{"any_of": ["ASA"]}], "never": ["aspirin"]}
    said = outcomes.load(json.dumps({"consultation": consultation, "gold": gold}), code=6)
    assert "line 1, gold.required.0: no list could be right" in " ".join(said.split())
    assert learned(stored) == ([None] * 3, None)
    both = {"required": [{"any_of": ["aspirin/dipyridamole"]}]}
    outcomes.load(json.dumps({"consultation": consultation, "gold": both}))
    assert learned(stored) == ([0, 0, 0], False), "they start aspirin alone"
