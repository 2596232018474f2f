"""The table of ingredients (`ingredients.csv`): what its schema promises, and what it covers."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from shared.medications import classes, ingredients, is_unknown
from tests.shared_data import NOT_HERE, SHARED_DATA

COLUMNS = ["ingredients", "rxcui", "synonyms", "brands"]
CODE = re.compile(r"[a-z0-9]+(?:[ -][a-z0-9]+)*")


@cache
def lines() -> tuple[str, ...]:
    """The table's lines without comments."""
    text = resources.files("shared.medications").joinpath("ingredients.csv").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def rows() -> list[dict[str, str]]:
    """The table's rows by column."""
    return list(csv.DictReader(lines()))


def singles() -> list[dict[str, str]]:
    """Rows of one ingredient."""
    return [row for row in rows() if " + " not in row["ingredients"]]


def names(row: dict[str, str]) -> list[str]:
    """All names of a row, as written."""
    others = [name for field in ("synonyms", "brands") for name in row[field].split(";") if name]
    return [row["ingredients"], *others]


def key(name: str) -> str:
    """What two names are one by: letters and digits in lower case."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


def test_every_line_has_the_four_fields() -> None:
    """The header is the contract's, and no line has a field too many or too few."""
    assert next(csv.reader(lines())) == COLUMNS
    assert [fields for fields in csv.reader(lines()) if len(fields) != len(COLUMNS)] == []


def test_codes_are_lower_case_names_and_stand_once() -> None:
    """A code is a lower-case generic name; a combination names its parts in order; no row stands twice."""
    written = [row["ingredients"] for row in rows()]
    parts = [name.split(" + ") for name in written]
    assert [code for codes in parts for code in codes if not CODE.fullmatch(code)] == []
    assert [codes for codes in parts if codes != sorted(set(codes))] == []
    assert [name for name, times in Counter(written).items() if times > 1] == []


def test_combinations_are_made_of_ingredients_with_a_row() -> None:
    """Every part of a combination has its own row, so that its synonyms and RxNorm id are known."""
    known = {row["ingredients"] for row in singles()}
    assert {code for row in rows() for code in row["ingredients"].split(" + ")} - known == set()


def test_fields_hold_clean_names() -> None:
    """No empty name, no stray space, nothing but ASCII, which is what orders are folded to."""
    every = [name for row in rows() for field in ("synonyms", "brands") for name in row[field].split(";")]
    fields = [row[field] for row in rows() for field in ("synonyms", "brands")]
    assert [field for field in fields if field and "" in field.split(";")] == []
    assert [name for name in every if name != name.strip() or not name.isascii()] == []
    assert [name for name in every if name and not key(name)] == []


def test_no_name_stands_for_two_things() -> None:
    """One name, one meaning: nor does a name stand twice in its own row."""
    meanings: dict[str, str] = {}
    for row in rows():
        written = [key(name) for name in names(row)]
        assert len(written) == len(set(written)), row["ingredients"]
        for name in written:
            assert meanings.setdefault(name, row["ingredients"]) == row["ingredients"], name


def test_size() -> None:
    """At least 900 distinct ingredients, and 300 combinations."""
    assert len({code for row in rows() for code in row["ingredients"].split(" + ")}) >= 900
    assert len(rows()) - len(singles()) >= 300


def test_rxcuis_are_numbers_of_one_ingredient() -> None:
    """An RxNorm id is digits without a leading zero, stands on one row only, and never on a combination."""
    given = [row["rxcui"] for row in singles() if row["rxcui"]]
    assert [rxcui for rxcui in given if not re.fullmatch(r"[1-9][0-9]{0,6}", rxcui)] == []
    assert [rxcui for rxcui, times in Counter(given).items() if times > 1] == []
    assert [row for row in rows() if " + " in row["ingredients"] and row["rxcui"]] == []
    assert len(given) >= 600


@pytest.mark.parametrize(
    ("code", "rxcui"),
    [
        ("warfarin", "11289"),
        ("aspirin", "1191"),
        ("acetaminophen", "161"),
        ("ibuprofen", "5640"),
        ("simvastatin", "36567"),
        ("atorvastatin", "83367"),
        ("lisinopril", "29046"),
        ("metformin", "6809"),
        ("amoxicillin", "723"),
        ("nitroglycerin", "4917"),
        ("nifedipine", "7417"),
        ("apixaban", "1364430"),
    ],
)
def test_known_rxcui(code: str, rxcui: str) -> None:
    """RxNorm ids everybody knows; nitroglycerin and nifedipine are often mistaken for one another."""
    assert {row["ingredients"]: row["rxcui"] for row in singles()}[code] == rxcui


def test_no_name_is_a_class_name() -> None:
    """A synonym or brand that also means a class means a drug of that class ("iron", "heparin")."""
    shared = {
        name: row["ingredients"]
        for row in rows()
        for name in map(key, names(row)[1:])
        if (group := classes.class_named(name)) and row["ingredients"] not in classes.members(group)
    }
    assert shared == {}


@pytest.mark.parametrize(
    "text",
    [
        "statin",
        "NSAID",
        "PPI",
        "LMWH",
        "OCP",
        "ACE inhibitor",
        "DOAC",
        "SSRI",
        "MS",
        "MTZ",
        "CPZ",
        "AZA",
        "CPM",
    ],
)
def test_classes_and_ambiguous_abbreviations_are_absent(text: str) -> None:
    """What names no drug, or two, is no name of the table."""
    assert key(text) not in {key(name) for row in rows() for name in names(row)}


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("paracetamol", ["acetaminophen"]),
        ("salbutamol", ["albuterol"]),
        ("adrenaline", ["epinephrine"]),
        ("pethidine", ["meperidine"]),
        ("KCl", ["potassium chloride"]),
        ("ISDN", ["isosorbide dinitrate"]),
        ("ISMN", ["isosorbide mononitrate"]),
        ("EMB", ["ethambutol"]),
        ("5-FU", ["fluorouracil"]),
        ("ATRA", ["tretinoin"]),
        ("HCQ", ["hydroxychloroquine"]),
        ("PHT", ["phenytoin"]),
        ("PCN VK", ["penicillin v"]),
        ("SMZ-TMP", ["sulfamethoxazole", "trimethoprim"]),
        ("Xigduo", ["dapagliflozin", "metformin"]),
        ("Lo Loestrin Fe", ["ethinyl estradiol", "ferrous fumarate", "norethindrone"]),
        ("Trikafta", ["elexacaftor", "ivacaftor", "tezacaftor"]),
        ("Shingrix", ["zoster vaccine"]),
        ("Kerendia", ["finerenone"]),
        ("Keytruda", ["pembrolizumab"]),
    ],
)
def test_name_finds_its_ingredients(text: str, codes: list[str]) -> None:
    """INN and BAN names, abbreviations, brands and combinations."""
    assert ingredients(text) == tuple(codes)


def documents(folder: Path) -> Iterator[object]:
    """Every JSON document below a folder; bundles, single resources, and lines of an export."""
    for path in sorted(path for path in folder.rglob("*json*") if path.is_file()):
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        if ".ndjson" in path.name:
            yield from map(json.loads, text.splitlines())
        else:
            yield json.loads(text)


def medications(node: object) -> Iterator[str]:
    """The texts and displays by which medication resources name their drug, wherever they are nested."""
    if isinstance(node, list):
        for part in node:
            yield from medications(part)
    elif isinstance(node, dict):
        if str(node.get("resourceType")).startswith("Medication"):
            for concept in (node.get("medicationCodeableConcept") or {}, node.get("code") or {}):
                yield from (coding["display"] for coding in concept.get("coding", ()) if "display" in coding)
                yield from [concept["text"]] if "text" in concept else []
        for part in node.values():
            yield from medications(part)


def written_in_xml(folder: Path) -> Iterator[str]:
    """The displays of RxNorm codings in XML resources."""
    coding = re.compile(r"rxnorm\".*?<display value=\"([^\"]+)\"", re.DOTALL)
    for path in sorted(folder.rglob("*.xml")):
        yield from coding.findall(path.read_text(encoding="utf-8"))


def test_every_fhir_medication_is_known() -> None:
    """No medication of the FHIR set has a part that is not in the table."""
    folder = SHARED_DATA / "fhir"
    if not folder.is_dir():
        pytest.skip(NOT_HERE)
    texts = {text for document in documents(folder) for text in medications(document)}
    texts |= set(written_in_xml(folder))
    assert len(texts) >= 100
    assert sorted(text for text in texts if any(map(is_unknown, ingredients(text)))) == []
