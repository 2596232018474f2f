"""`consilium consensus`: tables of grades in, JSON out, and errors that say where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producers.cli import main

CASES = json.loads((Path(__file__).parents[1] / "shared" / "vancouver_cases.json").read_text())["cases"]
CSV = "reviewer,item,grade\nanna,pizza,0.5\nanna,pasta,0.9\nmike,pizza,0.7\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Write a file, run the command on it, and give its exit code, standard output and error."""

    def run_(name: str, content: str | bytes, *options: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        data = content.encode() if isinstance(content, str) else content
        Path(name).write_bytes(data)
        monkeypatch.setattr("sys.argv", ["consilium", "consensus", name, *options])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        captured = capsys.readouterr()
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run_


def told(replaced: int) -> str:
    """What standard error holds where so many grades replaced an earlier one."""
    noun = "grade" if replaced == 1 else "grades"
    said = f"{replaced} {noun} replaced an earlier one of the same reviewer for the same item\n"
    return said if replaced else ""


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("setting", range(4))
@pytest.mark.parametrize(
    "case", [case for case in CASES if len(case["reviews"]) <= 40], ids=lambda c: c["name"]
)
def test_reference_form_gives_the_golden_values(run: Any, case: Any, setting: int, suffix: str) -> None:
    """On 0…10 with each pair of switches, from CSV and from JSON, duplicates included."""
    golden = case["results"][setting]
    if suffix == "csv":
        content = "reviewer,item,grade\n" + "".join(f"{u},{i},{g!r}\n" for u, i, g in case["reviews"])
    else:
        content = json.dumps([{"reviewer": u, "item": i, "grade": g} for u, i, g in case["reviews"]])
    switches = ["--exclusive"] * (not golden["use_all_data"]) + ["--debias"] * golden["debias"]
    code, out, err = run(f"g.{suffix}", content, "--form", "reference", "--scale", "10", *switches)
    assert (code, err) == (0, told(len(case["reviews"]) - len({(u, i) for u, i, _ in case["reviews"]})))
    shown = json.loads(out)
    assert shown.keys() == {"items", "reviewers"}
    for name, item in golden["items"].items():
        assert shown["items"][name] == pytest.approx(item, rel=1e-6, abs=1e-15)
    for name, reviewer in golden["reviewers"].items():
        expected = {"reliability" if k == "quality" else k: v for k, v in reviewer.items()}
        assert shown["reviewers"][name] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_default_form_is_the_mean(run: Any) -> None:
    """Without a memory: plain means, biases 0; extra columns, a BOM and spaces are no errors."""
    content = (
        "\ufeffnote, reviewer, item, grade\nx, anna, pizza, 0.5\nx, anna, pasta, 0.9\nx, mike, pizza, 0.7\n"
    )
    code, out, _ = run("g.csv", content)
    shown = json.loads(out)
    assert code == 0
    assert shown["items"]["pizza"] == pytest.approx({"grade": 0.6, "variance": 0.01})
    assert shown["items"]["pasta"]["grade"] == pytest.approx(0.9)
    assert {r["bias"] for r in shown["reviewers"].values()} == {0.0}


def test_scale_of_the_default_form(run: Any) -> None:
    """On 0…10 grades are ten times, variances a hundred times those on 0…1."""
    tenfold = CSV.replace("0.5", "5").replace("0.9", "9").replace("0.7", "7")
    one, ten = json.loads(run("g.csv", CSV)[1]), json.loads(run("g.csv", tenfold, "--scale", "10")[1])
    for name, item in one["items"].items():
        expected = {"grade": 10 * item["grade"], "variance": 100 * item["variance"]}
        assert ten["items"][name] == pytest.approx(expected)
    for name, reviewer in one["reviewers"].items():
        assert ten["reviewers"][name]["reliability"] == pytest.approx(reviewer["reliability"])
        assert ten["reviewers"][name]["variance"] == pytest.approx(100 * reviewer["variance"])


@pytest.mark.parametrize("form", ["default", "reference"])
def test_the_last_of_two_grades_counts(run: Any, form: str) -> None:
    """A second line for the same reviewer and item replaces the first, spaces apart, and is told."""
    first = run("g.csv", CSV.replace("anna,pizza,0.5", "anna ,pizza,0.1\nanna,pizza,0.5"), "--form", form)
    code, out, err = run("g.csv", CSV, "--form", form)
    assert (code, err) == (0, "")
    assert first == (code, out, told(1))


@pytest.mark.parametrize("form", ["default", "reference"])
def test_no_grades_give_nothing(run: Any, form: str) -> None:
    """An empty list and a file with its header alone are no errors."""
    for name, content in (("g.json", "[]"), ("g.csv", "reviewer,item,grade\n")):
        code, out, _ = run(name, content, "--form", form)
        assert (code, json.loads(out)) == (0, {"items": {}, "reviewers": {}})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("g.csv", "reviewer,item\nanna,pizza\n", "g.csv, line 1: no column grade; asked for are reviewer"),
        ("g.csv", "", "g.csv, line 1: no column reviewer, item, grade"),
        ("g.csv", CSV + "mike,pasta,good\n", "g.csv, line 5, column grade: not a number"),
        ("g.csv", CSV + "mike,pasta\n", "g.csv, line 5, column grade: not a number"),
        ("g.csv", CSV + "mike,,0.5\n", "g.csv, line 5, column item: empty or missing"),
        ("g.csv", CSV + ",pasta,0.5\n", "g.csv, line 5, column reviewer: empty or missing"),
        ("g.csv", CSV + "\nmike,pasta,1.5\n", "g.csv, line 6, column grade: not a number from 0 to 1"),
        ("g.csv", CSV + "mike,pasta,-0.1\n", "g.csv, line 5, column grade: not a number from 0 to 1"),
        ("g.csv", CSV + "mike,pasta,nan\n", "g.csv, line 5, column grade: not a number from 0 to 1"),
        ("g.csv", CSV + "mike,pasta,inf\n", "g.csv, line 5, column grade: not a number from 0 to 1"),
        ("g.csv", CSV + "mike,pasta,0.1,9\n", "g.csv, line 5: more cells than columns: quote a cell"),
        ("g.csv", CSV + "mike,pasta,1_0\n", "g.csv, line 5, column grade: not a number from 0 to 1"),
        ("g.csv", CSV + "mi\0ke,pasta,1\n", "g.csv, line 5, column reviewer: not a name: a text without NUL"),
        ("g.csv", CSV + 'mike,"pasta,1\nmike,bread,1\n', "g.csv, line 6: no CSV (unexpected end of data)"),
        ("g.csv", CSV + f"mike,{'x' * 2_000},1\n", "g.csv, line 5, column item: longer than 1000 characters"),
        (
            "g.csv",
            "reviewer,item,grade,grade\na,x,0.5,0.9\n",
            "g.csv, line 1: the column grade is there twice",
        ),
        ("g.csv", CSV.replace(",", ";"), "are reviewer, item, grade, with commas between them"),
        ("g.json", "[" * 100_000, "g.json is nested too deeply: a list of objects is asked for"),
        ("g.json", f"[{'1' * 5000}]", "g.json: a number has more than 4300 digits: shorten it"),
        (
            "g.json",
            '[{"reviewer": true, "item": "i", "grade": 1}]',
            "g.json, object 1, column reviewer: not a name",
        ),
        ("g.csv", b"\xff\xfe\x00", "g.csv is not UTF-8: save it as UTF-8"),
        ("g.json", '[{"reviewer": "a",\n "item": }]', "g.json, line 2, column 10: Expecting value"),
        ("g.json", '{"reviewer": "a"}', "g.json: a list of objects with reviewer, item, grade is asked for"),
        ("g.json", "[[1, 2, 3]]", "g.json, object 1: not an object with reviewer, item, grade"),
        ("g.json", '[{"item": "i", "grade": 1}]', "g.json, object 1, column reviewer: empty or missing"),
        (
            "g.json",
            '[{"reviewer": "u", "item": "i", "grade": true}]',
            "g.json, object 1, column grade: not a number",
        ),
        (
            "g.json",
            '[{"reviewer": "u", "item": "i", "grade": NaN}]',
            "g.json, object 1, column grade: not a number from 0 to 1",
        ),
    ],
)
@pytest.mark.parametrize("form", ["default", "reference"])
def test_an_error_says_where(run: Any, name: str, content: str | bytes, said: str, form: str) -> None:
    """File, line or object, column, and what is wrong; exit code 2; nothing on standard output."""
    code, out, err = run(name, content, "--form", form)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--exclusive"], "--exclusive and --debias belong to the reference form: add --form reference"),
        (["--debias"], "--exclusive and --debias belong to the reference form: add --form reference"),
        (["--scale", "0"], "--scale must be above 0 and finite"),
        (["--scale", "1e200"], "--scale must be above 0 and finite: from 1e-6 to 1e6"),
        (
            ["--scale", "1e-200", "--form", "reference"],
            "--scale must be above 0 and finite: from 1e-6 to 1e6",
        ),
        (["--scale", "nan"], "--scale must be above 0 and finite"),
        (["--scale", "inf"], "--scale must be above 0 and finite"),
    ],
)
def test_options_that_do_not_fit(run: Any, options: list[str], said: str) -> None:
    """Each is a sentence with what to do, exit code 2."""
    code, out, err = run("g.csv", CSV, *options)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_a_file_that_is_not_there(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is named with the system's reason."""
    monkeypatch.setattr("sys.argv", ["consilium", "consensus", str(tmp_path / "absent.csv")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2


def test_odd_but_clear_tables(run: Any) -> None:
    """Spaces around names, empty cells at a row's end, empty lines and a column that is not read twice."""
    odd = "note, reviewer ,item,grade,note\n,anna , pizza,0.5,,,\n\n,anna,pasta ,0.9,\n,mike,pizza,0.7,\n"
    assert run("g.csv", odd) == run("g.csv", CSV)


@pytest.mark.parametrize("scale", ["1e-6", "1e6"])
@pytest.mark.parametrize("form", ["default", "reference"])
def test_ends_of_the_scale(run: Any, form: str, scale: str) -> None:
    """JSON, with finite numbers alone."""
    code, out, _ = run("g.csv", "reviewer,item,grade\na,x,1e-7\nb,x,0\n", "--scale", scale, "--form", form)
    shown = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert code == 0
    assert shown["items"]["x"]["grade"] == pytest.approx(5e-8)
