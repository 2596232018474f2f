"""`consilium medications normalise`."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from producers.cli.medications.normalise import normalise

app = typer.Typer()
app.command()(normalise)


def test_a_line_each_in_order() -> None:
    """One object a line of input, in order; a blank line and an unknown drug have theirs."""
    done = CliRunner().invoke(app, ["-"], input="Lipitor 40 mg po qhs\n\nfoozumab\nSimvistatin 10 MG")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert [row["text"] for row in shown] == ["Lipitor 40 mg po qhs", "", "foozumab", "Simvistatin 10 MG"]
    assert [row["ingredients"] for row in shown] == [["atorvastatin"], [], [], ["simvastatin"]]
    assert shown[0] | {"rxcuis": {}} == {
        "text": "Lipitor 40 mg po qhs",
        "ingredients": ["atorvastatin"],
        "strength": "40 mg",
        "form": None,
        "route": "oral",
        "frequency": "at bedtime",
        "prn": False,
        "rxcuis": {},
        "unknown": [],
        "classes": [],
        "corrected": {},
    }
    assert shown[2]["unknown"] == ["foozumab"]
    assert shown[3]["corrected"] == {"Simvistatin": "simvastatin"}


def test_arguments_and_table() -> None:
    """Texts can be given as arguments; a table is for people."""
    done = CliRunner().invoke(app, ["ASA 81 mg", "a statin", "--format", "table"])
    assert done.exit_code == 0
    assert "aspirin" in done.stdout
    assert "statin" in done.stdout


def test_not_utf8() -> None:
    """Input in another encoding is refused with its line."""
    done = CliRunner().invoke(app, ["-"], input=b"aspirin\n\xff\xfe\n")
    assert done.exit_code != 0
    assert "UTF-8" in str(done.exception)
