"""`medications refine`: proposals in, one safe list and its reasons out, without any service."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from producers.cli.medications.refine import refine
from shared.errors import ConsiliumError

app = typer.Typer()
app.command()(refine)

PATIENT = {
    "age": 74,
    "conditions": ["atrial fibrillation"],
    "allergies": ["penicillin"],
    "medications": [{"name": "Coumadin 5 mg daily"}],
}
SEATS = [
    {"medications": ["Lopressor 25 mg bid", "Motrin 400 mg prn", "amoxicillin 500 mg"], "grade": 0.8},
    {"medications": [{"name": "metoprolol tartrate", "action": "start"}, "ibuprofen", "amoxicillin"]},
    {"medications": ["Toprol XL", "Tylenol 500 mg"], "grade": 0.7, "decision": "recommend"},
]


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting names a database, a broker, or anything else."""
    for name in [name for name in os.environ if name.startswith("CONSILIUM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def proposals(tmp_path: Path) -> Path:
    """A file of proposals."""
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps({"patient": PATIENT, "seats": SEATS}))
    return path


def run(*arguments: object, stdin: str | None = None) -> str:
    """What the command prints; raises what it raises."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: object, stdin: str | None = None) -> Any:
    """The result as JSON."""
    return json.loads(run(*arguments, "--format", "json", stdin=stdin))


def refused(path: Path, content: str) -> str:
    """The message of a file that is not taken."""
    path.write_text(content)
    with pytest.raises(ConsiliumError) as caught:
        run(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_refined_list_and_why(proposals: Path) -> None:
    """Brands meet generics, an allergy and a major interaction leave, and each step is said in words."""
    found = as_json(proposals)
    assert found["majority"] == ["amoxicillin", "ibuprofen", "metoprolol"]
    assert found["refined"] == ["metoprolol"]
    assert (found["method"], found["feasible"], found["current"]) == ("exact", True, ["warfarin"])
    words = [edit["words"] for edit in found["edits"]]
    assert words[0].startswith("amoxicillin removed: allergy to penicillin, ")
    assert words[1].startswith("ibuprofen removed: with warfarin, major bleeding (")
    gained = sum(edit["gain"]["total"] for edit in found["edits"])
    assert gained == pytest.approx(found["utility"]["total"] - found["start"]["total"], abs=1e-12)
    assert set(found["support"]) == {"acetaminophen", "amoxicillin", "ibuprofen", "metoprolol"}


def test_dials_change_the_list_but_no_allergy(proposals: Path) -> None:
    """With λ at 0 the interaction stays and is told as remaining; the allergy is barred all the same."""
    found = as_json(proposals, "--lambda", 0, "--treats", 0, "--same-class", 0, "--gamma", 0)
    assert found["refined"] == ["ibuprofen", "metoprolol"]
    assert [f["other"] for f in found["findings"] if f["severity"] == "major"] == ["warfarin"]


def test_standard_input_and_a_table(proposals: Path) -> None:
    """ "-" reads standard input; the table names each step, and the lists side by side."""
    shown = run("-", stdin=proposals.read_text())
    assert "ibuprofen removed: with warfarin" in shown
    assert "refined (exact)" in shown
    assert as_json("-", stdin=proposals.read_text()) == as_json(proposals)


def test_unknown_names_and_misspellings_are_said(proposals: Path) -> None:
    """An unknown drug stays a candidate under its code, with its text beside; what was corrected is told."""
    seats = [{"medications": ["foozumab 3 mg", "metoprollol"]}]
    found = as_json("-", stdin=json.dumps({"seats": seats}))
    (unknown,) = found["unknown"]
    assert unknown["text"] == "foozumab 3 mg"
    assert unknown["code"] in found["refined"]
    assert found["corrected"] == {"metoprollol": "metoprolol"}
    assert "foozumab 3 mg (unknown)" in run("-", stdin=json.dumps({"seats": seats}))


def test_what_the_majority_stops_meets_nothing(proposals: Path) -> None:
    """An interaction with a drug that most seats stop is none; one taken already is not started again."""
    orders = ["ibuprofen", "warfarin", {"name": "warfarin", "action": "stop"}]
    given = {"patient": PATIENT, "seats": [{"medications": orders}] * 2 + SEATS[:1]}
    found = as_json("-", stdin=json.dumps(given))
    assert found["current"] == []
    assert "warfarin" not in found["support"]
    assert found["refined"] == ["ibuprofen"]


def test_when_everything_is_barred_it_says_so(proposals: Path) -> None:
    """No feasible list: an empty one, marked, with a sentence."""
    given = json.dumps({"patient": PATIENT, "seats": [{"medications": ["amoxicillin"]}]})
    found = as_json("-", stdin=given)
    assert (found["refined"], found["feasible"]) == ([], False)
    assert "no list is feasible" in run("-", stdin=given)


def test_a_sites_rules_are_read(proposals: Path, tmp_path: Path) -> None:
    """A rule of the site's file takes part; a bad one is refused with its line."""
    rules = tmp_path / "rules.csv"
    head = "id,kind,drug,with,when,severity,effect,mechanism,advice,source\n"
    rules.write_text(head + "site-1,interaction,metoprolol,warfarin,,contraindicated,x,y,z,our pharmacy\n")
    found = as_json(proposals, "--rules", rules)
    assert "metoprolol" not in found["refined"]
    assert found["knowledge"] != as_json(proposals)["knowledge"]
    rules.write_text(head + "site-1,interaction,metoprolol,warfarin,,dreadful,x,y,z,our pharmacy\n")
    with pytest.raises(ConsiliumError, match=r"line 2.*severity"):
        run(proposals, "--rules", rules)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1, column 2"),
        ("[]", "proposals.json, top: "),
        ('{"seats": []}', "proposals.json, seats: "),
        ('{"seats": [{"medications": ["x"], "grade": 1.5}]}', "proposals.json, seats.0.grade: "),
        ('{"seats": [{"medications": ["x"], "grad": 1}]}', "proposals.json, seats.0.grad: "),
        ('{"seats": [{"medications": [{"name": "x"}]}]}', "seats.0.medications.0.action: "),
        ('{"seats": [{"medications": [""]}]}', "seats.0.medications.0.name: "),
        ('{"seats": [{"decision": "recommend"}]}', "medications is empty"),
        ('{"seats": [{}], "patient": {"age": "old"}}', "proposals.json, patient.age: "),
    ],
)
def test_bad_proposals_name_file_and_field(proposals: Path, content: str, message: str) -> None:
    """Each thing that is wrong is said with its place."""
    assert message in refused(proposals, content)


def test_a_missing_file_and_bad_dials_are_refused(tmp_path: Path, proposals: Path) -> None:
    """A sentence each, and exit code 2."""
    with pytest.raises(ConsiliumError, match="cannot be read"):
        run(tmp_path / "none.json")
    with pytest.raises(ConsiliumError, match="dial severity"):
        run(proposals, "--lambda=-1")
    with pytest.raises(ConsiliumError, match="--gamma"):
        run(proposals, "--gamma", "nan")
