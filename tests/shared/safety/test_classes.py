"""Classes of drugs: their members are drugs of the table, and their names are read as people write them."""

import pytest

from shared.errors import KnowledgeError
from shared.medications import classes as module
from shared.medications import ingredients
from shared.medications.classes import class_named, classes, classes_of, members
from shared.safety.rules import builtin

WRITTEN = {
    "a statin": "statin",
    "Statins": "statin",
    "NSAIDs": "nsaid",
    "an ACE inhibitor": "ace_inhibitor",
    "ACE-inhibitors": "ace_inhibitor",
    "ACEi": "ace_inhibitor",
    "ARB": "arb",
    "beta-blockers": "beta_blocker",
    "PPIs": "ppi",
    "Proton pump inhibitor": "ppi",
    "sulfa drugs": "sulfonamide",
    "sulfonamide antibiotics": "sulfonamide",
    "Penicillins": "penicillin",
    "PCN": "penicillin",
    "cephalosporins": "cephalosporin",
    "OCPs": "hormonal_contraceptive",
    "LMWH": "lmwh",
    "triptan": "triptan",
    "loop diuretics": "loop_diuretic",
    "benzos": "benzodiazepine",
    "GLP-1 agonists": "glp1_agonist",
    "SGLT2i": "sglt2_inhibitor",
    "the tricyclic antidepressants": "tca",
    "opiates": "phenanthrene_opioid",
}


@pytest.mark.parametrize(("text", "code"), WRITTEN.items())
def test_names_as_written(text: str, code: str):
    """Articles, plurals, case and hyphens do not hide a class."""
    assert class_named(text) == code


@pytest.mark.parametrize("text", ["", "warfarin", "a statin for the heart", "nausea", "drugs", "statinol"])
def test_what_names_no_class(text: str):
    """Anything more or other than a class's name names none."""
    assert class_named(text) is None


def test_every_member_is_a_drug_of_the_table():
    """A member is an ingredient code as the normaliser gives it, so that no rule about a class is lost."""
    unknown = {d for held in classes().values() for d in held if ingredients(d) != (d,)}
    assert not unknown, f"no ingredient codes: {sorted(unknown)}"


def test_nested_classes_hold_the_members_of_those_within():
    """`@class` brings all its members, and each member knows every class it is in."""
    assert members("aminopenicillin") < members("penicillin") < members("beta_lactam")
    assert {"aminopenicillin", "penicillin", "beta_lactam"} <= classes_of("amoxicillin")
    assert all(drug in members(code) for code in classes() for drug in members(code))


def test_what_is_no_class_has_no_members():
    """An ingredient and an unknown word are no classes."""
    assert members("warfarin") == frozenset()
    assert classes_of("unknown:0123456789ab") == frozenset()


def test_rules_name_existing_classes_only():
    """Every class that a built-in rule names has members."""
    fields = {name for rule in builtin().rules for name in (rule.drug, rule.other) if name.startswith("@")}
    assert fields
    assert all(members(name[1:]) for name in fields)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Statin,,atorvastatin", "line 2, field class"),
        ("statin,,", "line 2, field members"),
        ("statin,,@nothing", "@nothing is no class"),
        ("statin,,@statin", "@statin holds itself"),
        ("statin,atorvastatin", "line 2: 2 fields instead of 3"),
    ],
)
def test_bad_lines_are_told(line: str, told: str, tmp_path, monkeypatch):
    """A bad line is refused with table, line, field and reason."""
    (tmp_path / "classes.csv").write_text(f"class,names,members\n{line}\n", encoding="utf-8")
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    with pytest.raises(KnowledgeError, match=told):
        module._tables.__wrapped__()


def test_one_name_names_one_class(tmp_path, monkeypatch):
    """A name that two classes claim is refused."""
    text = "class,names,members\nstatin,lipid pill,atorvastatin\nfibrate,lipid pills,fenofibrate\n"
    (tmp_path / "classes.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    with pytest.raises(KnowledgeError, match="names statin already"):
        module._tables.__wrapped__()
