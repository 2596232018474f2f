"""Ingredient codes as they are stored."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medications import generic_name, ingredients, is_unknown
from shared.medications.names import names


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("atorvastatin", ["atorvastatin"]),
        ("Lipitor 40 mg PO QHS", ["atorvastatin"]),
        ("metoprolol succinate ER 50 mg daily", ["metoprolol"]),
        ("Toprol-XL® 25 mg", ["metoprolol"]),
        ("LISINOPRIL", ["lisinopril"]),
        ("doxycycline hyclate 100 mg PO BID x 7 days", ["doxycycline"]),
        ("ceftriaxone 1 g IV q24h", ["ceftriaxone"]),
        ("paracetamol (acetaminophen) 1 g every 6 hours", ["acetaminophen"]),
        ("Lipitor (atorvastatin)", ["atorvastatin"]),
        ("ibuprofen 400 mg with food for pain", ["ibuprofen"]),
        ("low-dose aspirin 81 mg", ["aspirin"]),
        ("acetylsalicylic acid (aspirin)", ["aspirin"]),
        ("vitamin B12 1000 mcg IM monthly", ["cyanocobalamin"]),
        ("L-thyroxine 50 µg", ["levothyroxine"]),
        ("5-ASA 800 mg", ["mesalamine"]),
        ("penicillin G benzathine 2.4 million units IM", ["penicillin g"]),
        ("potassium chloride 20 mEq", ["potassium chloride"]),
        ("insulin glargine 10 units at bedtime", ["insulin glargine"]),
        ("morphine 2 mg/h infusion", ["morphine"]),
        ("sulphasalazine", ["sulfasalazine"]),
        # combinations
        ("Augmentin 875/125 mg BID", ["amoxicillin", "clavulanate"]),
        ("amoxicillin-clavulanate", ["amoxicillin", "clavulanate"]),
        ("amoxicillin (875 mg) / clavulanate (125 mg)", ["amoxicillin", "clavulanate"]),
        ("Bactrim DS", ["sulfamethoxazole", "trimethoprim"]),
        ("TMP-SMX", ["sulfamethoxazole", "trimethoprim"]),
        ("trimethoprim, sulfamethoxazole", ["sulfamethoxazole", "trimethoprim"]),
        ("Norco 5/325", ["acetaminophen", "hydrocodone"]),
        ("Tylenol #3 1-2 tabs q4-6h", ["acetaminophen", "codeine"]),
        ("Advair Diskus 250/50", ["fluticasone", "salmeterol"]),
        ("fluticasone propionate/salmeterol xinafoate", ["fluticasone", "salmeterol"]),
        ("sacubitril/valsartan 24/26 mg", ["sacubitril", "valsartan"]),
        ("losartan-HCTZ", ["hydrochlorothiazide", "losartan"]),
        ("lisinopril and hydrochlorothiazide", ["hydrochlorothiazide", "lisinopril"]),
        ("Diovan HCT 160/12.5", ["hydrochlorothiazide", "valsartan"]),
        ("Humulin 70/30", ["insulin nph", "insulin regular"]),
    ],
)
def test_known_name(name: str, codes: list[str]) -> None:
    """Brands, synonyms, salts, strengths, forms and combinations come to the same ingredients."""
    assert ingredients(name) == tuple(codes)
    assert generic_name(name) == " + ".join(codes)


@pytest.mark.parametrize(
    "name",
    [
        "a statin",
        "statin",
        "beta-blocker",
        "calcium channel blocker",
        "potassium-sparing diuretic",
        "low molecular weight heparin",
        "oral contraceptive",
        "inhaled corticosteroid",
        "IV fluids",
        "NSAID",
        "prednislone",  # prednisone or prednisolone: nothing is guessed
        "tablet",
        "—",
        "аспирин",
    ],
)
def test_classes_and_nonsense_are_unknown(name: str) -> None:
    """What is not in the table is unknown: no class and no doubtful misspelling becomes an ingredient."""
    (code,) = ingredients(name)
    assert is_unknown(code)
    assert generic_name(name) is None


@given(st.text(alphabet=string.ascii_letters + " -", min_size=1).map("zqxj{}".format))
@settings(deadline=None)
def test_unknown_code_holds_no_text(name: str) -> None:
    """The code of an unknown name is a digest of fixed form."""
    assert all(re.fullmatch(r"unknown:[0-9a-f]{12}", code) for code in ingredients(name) if is_unknown(code))
    assert any(map(is_unknown, ingredients(name)))


def test_unknown_names_compare() -> None:
    """Equal unknown names are equal codes whatever the dose; other names and other keys are not."""
    assert ingredients("Foozumab 40 mg SC weekly", b"k") == ingredients("foozumab", b"k")
    assert ingredients("foozumab", b"k") != ingredients("barzumab", b"k")
    assert ingredients("foozumab", b"k") != ingredients("foozumab", b"other")


def test_known_part_of_a_combination_is_told() -> None:
    """Beside an unknown part the known one still counts, or an allergy to it would be missed."""
    known, unknown = ingredients("aspirin and foozumab")
    assert known == "aspirin"
    assert (unknown,) == ingredients("foozumab")
    assert generic_name("aspirin and foozumab") is None


def test_every_name_of_the_table_finds_itself() -> None:
    """No reduction of a name leads to another entry, also with strength, route and frequency after it."""
    for name, codes in names().codes.items():
        assert ingredients(name) == codes
        assert ingredients(f"{name.upper()} 10 mg PO BID") == codes


def test_size_and_keys() -> None:
    """At least 300 ingredients; each is its own code, in lower case."""
    codes = {code for codes in names().codes.values() for code in codes}
    assert len(codes) >= 300
    assert all(ingredients(code) == (code,) and code == code.lower() for code in codes)


@given(st.sampled_from(sorted(names().codes)), st.data())
@settings(deadline=None)
def test_case_and_punctuation_do_not_matter(name: str, data: st.DataObject) -> None:
    """Letter case and the punctuation between words change nothing."""
    written = "".join(data.draw(st.sampled_from((c.lower(), c.upper()))) for c in name)
    written = written.replace(" ", data.draw(st.sampled_from([" ", "  ", "-", "_", " - "])))
    assert ingredients(f" {written}. ") == ingredients(name)
