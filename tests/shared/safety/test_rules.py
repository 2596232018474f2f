"""Safety rules: the built-in tables, a site's file on top, and what is said of bad lines."""

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from producers.cli.medications.rules import rules as rules_command
from shared.errors import KnowledgeError
from shared.medications.order import normalise
from shared.safety.finding import Severity
from shared.safety.patient import Patient
from shared.safety.rule import Term, covered
from shared.safety.rules import BUILTIN, builtin, load

HEADER = "id,kind,drug,with,when,severity,effect,mechanism,advice,source\n"
OVERRIDE = "ddi-warfarin--aspirin,interaction,warfarin,aspirin,,moderate,bleeding,ours,,site\n"
GOOD = "site-1,interaction,metformin,@statin,,minor,nothing much,none,,site\n"
OFF = "ddi-warfarin--fluconazole,,,,,off,,,,\n"


def site(folder: Path, *lines: str) -> Path:
    """A site's file with these lines."""
    path = folder / "site.csv"
    path.write_text("# ours\n" + HEADER + "".join(lines), encoding="utf-8")
    return path


def problems(path: Path) -> tuple[str, ...]:
    """What `load` says of a file."""
    with pytest.raises(KnowledgeError) as told:
        load(path)
    return told.value.problems


def test_builtin_tables_load():
    """Every built-in table is there and valid, and the interactions cover thousands of pairs."""
    knowledge = builtin()
    found = {rule.kind for rule in knowledge.rules}
    assert found == {"interaction", "modifier", "allergy", "condition", "pregnancy", "renal", "age"}
    assert len(BUILTIN) == 6
    pairs = {
        frozenset((a, b))
        for rule in knowledge.rules
        if rule.kind == "interaction"
        for a in covered(rule.drug)
        for b in covered(rule.other) - {a}
    }
    assert sum(rule.kind == "interaction" for rule in knowledge.rules) >= 250
    assert len(pairs) >= 3000


def test_rows_round_trip(tmp_path):
    """A rule written out as its row and read as a site's line is the same rule, and the digest the same."""

    path = tmp_path / "all.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER.strip().split(","))
        writer.writeheader()
        writer.writerows(rule.row() for rule in builtin().rules)
    again = load(path)
    assert again.rules == builtin().rules
    assert again.digest == builtin().digest
    assert again.version != builtin().version


def test_site_adds_overrides_and_switches_off(tmp_path):
    """A new id adds a rule, a built-in id takes its place, `off` takes it out; each changes the digest."""
    ours = {rule.id: rule for rule in builtin().rules}
    loaded = load(site(tmp_path, OVERRIDE, GOOD, OFF))
    now = {rule.id: rule for rule in loaded.rules}
    assert now["ddi-warfarin--aspirin"].severity is Severity.moderate
    assert now["site-1"].other == "@statin"
    assert ours.keys() - now.keys() == {"ddi-warfarin--fluconazole"}
    assert now.keys() - ours.keys() == {"site-1"}
    digests = {load(site(tmp_path, *lines)).digest for lines in ((OVERRIDE,), (GOOD,), (OFF,), ())}
    assert len(digests) == 4
    assert builtin().digest in digests


def test_every_bad_line_is_named(tmp_path):
    """All bad lines of a file are told at once, each with its number, field and reason."""
    path = site(
        tmp_path,
        GOOD,
        "a,interaction,ibuprofn,warfarin,,major,bleeding,why,,site\n",
        "b,interaction,coumadin,aspirin,,major,bleeding,why,,site\n",
        "c,interaction,warfarin,@nsaids_of_ours,,major,bleeding,why,,site\n",
        "d,interaction,warfarin,aspirin,,severe,bleeding,why,,site\n",
        "e,interaction,warfarin,aspirin,age=65,major,bleeding,why,,site\n",
        "site-1,interaction,warfarin,aspirin,,major,bleeding,why,,site\n",
        "f,interaction,warfarin,aspirin,,major,,why,,site\n",
        "g,interaction,warfarin,aspirin,,major,bleeding,,,site\n",
        "h,interactions,warfarin,aspirin,,major,bleeding,why,,site\n",
        "i,condition,warfarin,tiredness_of_life,,major,bleeding,,,site\n",
        "j,renal,metformin,,age>65,major,lactic acidosis,,,site\n",
        "k,age,warfarin,aspirin,age>65,major,bleeding,,,site\n",
        "l,modifier,warfarin,aspirin,age>65,major,raises it,,,site\n",
        "no-such-rule,,,,,off,,,,\n",
        "m,interaction,warfarin,warfarin,,major,bleeding,why,,site\n",
        "n,interaction,warfarin,aspirin\n",
        '"o,interaction,warfarin,aspirin,,major,bleeding,why,,site\n',
        "Big Id,interaction,warfarin,aspirin,,major,bleeding,why,,site\n",
        "p,interaction,warfarin,aspirin,sex=f,major,bleeding,why,,site\n",
        "q,interaction,warfarin,aspirin,taking=@nothing,major,bleeding,why,,site\n",
        "r,interaction,warfarin,aspirin,,major,bleeding,why,,\n",
    )
    said = problems(path)
    fields = ["drug", "drug", "with", "severity", "when", "id", "effect", "mechanism"]
    fields += ["kind", "with", "when", "with", "severity", "id", "with"]
    assert [line.removeprefix(f"{path}, line ").split(", ")[0].split(":")[0] for line in said] == [
        str(number) for number in range(4, 25)
    ]
    assert [line.split(", ")[2].split(":")[0] for line in said[:15]] == fields
    assert "write warfarin" in said[1]
    assert "4 fields instead of 10" in said[15]
    assert "not CSV" in said[16]
    assert [line.split(", ")[2].split(":")[0] for line in said[17:]] == ["id", "when", "when", "source"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"id,kind\n", "the columns must be"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, part):
    """A file that is no table is refused as a whole, with the reason."""
    path = tmp_path / "site.csv"
    path.write_bytes(content)
    assert part in problems(path)[0]


def test_missing_file(tmp_path):
    """A file that is not there is named."""
    assert "cannot be read" in problems(tmp_path / "none.csv")[0]


def test_a_file_from_a_spreadsheet(tmp_path):
    """A byte order mark, CRLF and any order of columns are read."""
    path = tmp_path / "site.csv"
    columns = HEADER.strip().split(",")[::-1]
    values = GOOD.strip().split(",")[::-1]
    path.write_bytes(
        b"\xef\xbb\xbf" + ",".join(columns).encode() + b"\r\n" + ",".join(values).encode() + b"\r\n"
    )
    assert "site-1" in {rule.id for rule in load(path).rules}


@pytest.mark.parametrize(
    ("term", "patient", "order", "holds"),
    [
        (Term("age", ">=", 65.0), Patient(age=65), "", True),
        (Term("age", ">=", 65.0), Patient(age=64.9), "", False),
        (Term("age", "<", 18.0), Patient(), "", False),
        (Term("egfr", "<", 30.0), Patient(egfr=29), "", True),
        (Term("egfr", "<", 30.0), Patient(), "", False),
        (Term("pregnant"), Patient(pregnant=True), "", True),
        (Term("pregnant"), Patient(), "", False),
        (Term("sex", "=", "female"), Patient(sex="female"), "", True),
        (Term("condition", "=", "peptic_ulcer"), Patient(conditions=frozenset({"peptic_ulcer"})), "", True),
        (Term("taking", "=", "@ppi"), Patient(), "", True),
        (Term("taking", "=", "misoprostol"), Patient(), "", False),
        (Term("route", "=", "topical"), Patient(), "diclofenac 1% gel topical", True),
        (Term("route", "=", "topical"), Patient(), "diclofenac", False),
        (Term("strength_mg", ">", 20.0), Patient(), "simvastatin 40 mg", True),
        (Term("strength_mg", ">", 20.0), Patient(), "simvastatin 20 mg", False),
        (Term("strength_mg", ">", 20.0), Patient(), "simvastatin", False),
        (Term("strength_mg", ">=", 1000.0), Patient(), "metformin 1 g", True),
    ],
)
def test_terms(term, patient, order, holds):
    """Each kind of term holds where the fact is so, and not where it is not known."""
    assert term.holds(patient, normalise(order) if order else None, {"omeprazole"}) is holds


def test_command_counts_and_checks(tmp_path):
    """The command counts by kind with version and digest, and a bad file stops it with exit code 2."""
    app = typer.Typer()
    app.command()(rules_command)
    runner = CliRunner()
    rows = json.loads(runner.invoke(app, ["--format", "json"]).stdout)
    assert {row["digest"] for row in rows} == {builtin().digest}
    assert sum(row["rules"] for row in rows) == len(builtin().rules)
    rows = json.loads(
        runner.invoke(app, [str(site(tmp_path, GOOD, OVERRIDE, OFF)), "--format", "json"]).stdout
    )
    interactions = next(row for row in rows if row["kind"] == "interaction")
    assert [interactions[key] for key in ("added", "replaced", "off")] == [1, 1, 1]
    bad = runner.invoke(app, [str(site(tmp_path, "x,interaction,,aspirin,,major,bleeding,why,,site\n"))])
    assert isinstance(bad.exception, KnowledgeError)
    assert bad.exception.exit_code == 2
    assert "line 3, drug" in str(bad.exception)


def test_digest_covers_the_table_of_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another table of duplicates is other knowledge."""
    before = builtin().digest
    monkeypatch.setattr("shared.safety.rules.DUPLICATES", "ages.csv")
    assert load(None).digest != before
