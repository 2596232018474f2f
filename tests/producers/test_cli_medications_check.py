"""`consilium medications check`: findings for a list, as JSON and as a table, without any service."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from producers.cli.medications.check import BadInput, check

APP = typer.Typer()
APP.command()(check)
CONTEXT = {
    "age": 74,
    "conditions": ["asthma"],
    "allergies": ["penicillin (hives)", "foozumab"],
    "medications": [{"name": "Coumadin", "dose": "5 mg daily"}],
    "egfr": 28,
}


def run(*arguments: str, stdin: str | None = None):
    """The command's result."""
    return CliRunner().invoke(APP, [*arguments], input=stdin)


def read(*arguments: str, stdin: str | None = None):
    """What it prints as JSON; exit code 0 whatever is found."""
    result = run(*arguments, "--format", "json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def patient(tmp_path: Path) -> str:
    """A patient's file."""
    path = tmp_path / "patient.json"
    path.write_text(json.dumps(CONTEXT), encoding="utf-8")
    return str(path)


def test_a_list_for_a_patient(patient: str):
    """Drugs, findings of each kind, unknown names as written, classes that are no drugs."""
    shown = read("Augmentin 875/125 mg bid; Advil; propranolol; foozumab; a statin", "--patient", patient)
    assert shown["drugs"] == ["amoxicillin", "clavulanate", "ibuprofen", "propranolol", "foozumab"]
    assert shown["unknown"] == ["foozumab"]
    assert shown["classes"] == ["statin"]
    told = {(f["kind"], f["drug"], f["severity"]) for f in shown["findings"]}
    assert {
        ("allergy", "amoxicillin", "contraindicated"),
        ("allergy", "foozumab", "contraindicated"),
        ("condition", "propranolol", "contraindicated"),
        ("interaction", "ibuprofen", "major"),
        ("renal", "ibuprofen", "major"),
    } <= told
    fields = {
        "kind",
        "drug",
        "other",
        "severity",
        "effect",
        "mechanism",
        "advice",
        "source",
        "rule",
        "modifiers",
    }
    assert all(set(finding) == fields for finding in shown["findings"])
    assert shown["patient"]["current"] == ["warfarin"]
    assert shown["patient"]["egfr"] == 28


@pytest.mark.parametrize(
    "text",
    ["warfarin, aspirin", "warfarin; aspirin", "-", "FILE", '["Coumadin", {"name": "ASA", "dose": "81 mg"}]'],
)
def test_ways_to_give_the_list(text: str, tmp_path: Path):
    """By comma or semicolon, a line each from standard input or a file, as JSON; no patient needed."""
    lines = "Coumadin 5 mg po daily\n\nASA 81 mg\n"
    if text == "FILE":
        text = str(tmp_path / "orders.txt")
        Path(text).write_text(lines, encoding="utf-8")
    shown = read(text, stdin=lines)
    assert shown["drugs"] == ["warfarin", "aspirin"]
    assert {f["kind"] for f in shown["findings"]} == {"interaction"}


def test_current_drugs_by_name_alone(tmp_path: Path):
    """What the patient takes may be a list of names, and the patient may stand in a field of its own."""
    path = tmp_path / "patient.json"
    path.write_text(json.dumps({"patient": {"medications": ["Coumadin 5 mg"]}}), encoding="utf-8")
    shown = read("aspirin", "--patient", str(path))
    assert [(f["drug"], f["other"]) for f in shown["findings"]] == [("aspirin", "warfarin")]


def test_one_ingredient_in_two_orders():
    """Two products that hold the same ingredient are told."""
    shown = read("Percocet; Tylenol")
    assert [(f["kind"], f["drug"], f["other"]) for f in shown["findings"]] == [
        ("duplicate", "acetaminophen", "acetaminophen")
    ]


def test_a_whole_vignette(tmp_path: Path):
    """The text of a vignette tells allergies that its context does not."""
    path = tmp_path / "vignette.json"
    story = "A man of 40 with a sore throat. He is allergic to amoxicillin."
    path.write_text(json.dumps({"id": "1", "vignette": story}), encoding="utf-8")
    shown = read("penicillin v", "--patient", str(path))
    assert [f["kind"] for f in shown["findings"]] == ["allergy"]


def test_routes_are_heeded():
    """Topical use is lesser."""
    tablet, gel = read("warfarin; diclofenac 50 mg tablet"), read("warfarin; diclofenac gel topical")
    assert tablet["findings"][0]["severity"] == "major"
    assert gel["findings"][0]["severity"] == "minor"


def test_tables_for_people():
    """The table names severity and source; what was not looked at is said on standard error."""
    result = run("warfarin; ibuprofen; foozumab")
    assert result.exit_code == 0
    assert "major" in result.stdout
    assert "warfarin" in result.stdout
    assert "foozumab" not in result.stdout
    assert "foozumab" in result.stderr
    assert run("metformin").stdout.strip() == "Nothing found."


def test_site_rules(tmp_path: Path):
    """A site's rules apply."""
    path = tmp_path / "site.csv"
    path.write_text(
        "id,kind,drug,with,when,severity,effect,mechanism,advice,source\n"
        "site-1,interaction,metformin,lisinopril,,major,ours,ours,,site\n",
        encoding="utf-8",
    )
    assert [f["rule"] for f in read("metformin, lisinopril", "--rules", str(path))["findings"]] == ["site-1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1, column 2"),
        ('{"age": "old"}', "field age"),
        ('{"medications": [{"dose": "1"}]}', "field medications.0.name"),
        ('{"id": "1", "vignette": "short"}', "field vignette"),
        ("[]", "field the file"),
        ('{"patient": {"age": "old"}}', "field age"),
    ],
)
def test_bad_patients_are_refused(text: str, told: str, tmp_path: Path):
    """The message names file and field and does not quote the value."""
    path = tmp_path / "patient.json"
    path.write_text(text, encoding="utf-8")
    result = run("aspirin", "--patient", str(path))
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_code == 2
    assert told in str(result.exception)
    assert "old" not in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [(" ; ",), ("[1]",), ('["aspirin"',), ("aspirin", "--patient", "/nowhere/patient.json")]
)
def test_nothing_to_read(arguments: tuple[str, ...]):
    """An empty list and a missing file are errors of their own."""
    assert isinstance(run(*arguments).exception, BadInput)
