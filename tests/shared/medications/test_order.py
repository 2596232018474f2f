"""The normaliser: order texts with hand-written truth, and what must hold for any text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.medications import ingredients, normalise
from shared.medications.names import names
from shared.medications.words import KNOWN

HERE = Path(__file__).parent


def rows(file: str) -> list[dict[str, str]]:
    """The truth of a file: text → what it orders; an empty field is not asked."""
    with (HERE / file).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def wanted(row: dict[str, str]) -> tuple[str, ...]:
    """The ingredients of a row."""
    return tuple(filter(None, row["ingredients"].split(" + ")))


@pytest.mark.parametrize("row", rows("fhir_orders.csv"), ids=lambda row: row["text"])
def test_order_of_the_fhir_set(row: dict[str, str]) -> None:
    """Every medication text of the public FHIR set comes to the ingredients written down by hand."""
    order = normalise(row["text"])
    assert order.ingredients == wanted(row)
    assert not order.unknown


@pytest.mark.parametrize("row", rows("own_orders.csv"), ids=lambda row: row["text"])
def test_own_order(row: dict[str, str]) -> None:
    """Abbreviations, brands, combinations, slips: ingredients; strength, route, frequency where told."""
    order = normalise(row["text"])
    assert order.ingredients == wanted(row)
    for field in ("strength", "route", "frequency"):
        if row[field]:
            assert getattr(order, field) == row[field]
    assert order.prn is (row["prn"] == "yes")


def test_sizes_of_the_truth() -> None:
    """The bars ask for 100 texts of the set and 200 of our own; all are distinct."""
    for file, least in (("fhir_orders.csv", 100), ("own_orders.csv", 220)):
        assert len({row["text"] for row in rows(file)}) == len(rows(file)) >= least


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("foozumab 40 mg SC weekly", (), ("foozumab",)),
        ("Aspirin 81 mg and Foozumab 40 mg", ("aspirin",), ("Foozumab",)),
        ("aspirin 81 mg daily, foozumab", ("aspirin",), ("foozumab",)),
        ("aspirin 81 mg foozumab 40 mg daily", ("aspirin",), ("foozumab",)),
        ("heparin-induced thrombocytopenia", (), ("heparin-induced thrombocytopenia",)),
        ("insulin xyzzy", (), ("insulin xyzzy",)),  # a part of many names: which insulin is unknown
        ("Amoxicillin 500 mg TID until finished", ("amoxicillin",), ()),
        ("aspirin for pain and ibuprofen 400 mg for fever", ("aspirin", "ibuprofen"), ()),
        ("for pain: Norco 5/325", ("acetaminophen", "hydrocodone"), ()),
        ("tablet", (), ("tablet",)),
        ("  ", (), ()),
    ],
)
def test_nothing_is_dropped_in_silence(text: str, known: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    """What is no known drug stays, as written; instructions and reasons are no drugs."""
    order = normalise(text)
    assert (order.ingredients, order.unknown) == (known, unknown)


@pytest.mark.parametrize(
    ("text", "class_"),
    [
        ("a statin", "statin"),
        ("NSAIDs 3 times daily", "nsaid"),
        ("beta-blocker", "beta_blocker"),
        ("calcium channel blocker", "calcium_channel_blocker"),
        ("start an ACE inhibitor", "ace_inhibitor"),
    ],
)
def test_class_is_no_drug_and_said(text: str, class_: str) -> None:
    """A class name gives no ingredient; its code is told, and stored only as a digest."""
    order = normalise(text)
    assert (order.ingredients, order.unknown, order.classes) == ((), (), (class_,))
    (code,) = ingredients(text)
    assert code.startswith("unknown:")


def test_fields_of_a_product_name() -> None:
    """Strength, form, route and RxNorm ids of a product name."""
    order = normalise("24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet")
    assert (order.strength, order.form, order.route) == ("500 mg", "extended-release tablet", "oral")
    assert order.rxcuis == {"metformin": "6809"}
    assert order.frequency is None
    assert order.prn is False


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@st.composite
def slips(draw: st.DrawFn) -> tuple[str, str]:
    """A known name and the same with one letter inserted, deleted, replaced or exchanged with the next."""
    name = draw(st.sampled_from(sorted(names().codes)))
    at = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from(LETTERS + " "))
    edits = [
        name[:at] + letter + name[at:],
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at + 1 :],
        name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
    ]
    return name, draw(st.sampled_from(edits))


@given(slips())
@example(("levonorgestrel", "levo norgestrel"))
@example(("insulin nph", "insulin npk"))
@example(("tenofovir alafenamide", "tenofovir alafenxamide"))
@settings(deadline=None, max_examples=300)
def test_one_slip_never_makes_another_drug_in_silence(slip: tuple[str, str]) -> None:
    """One edit on a known name gives the same drug, something unknown or a mark; or makes a known name."""
    name, written = slip
    order = normalise(written)
    made = set(written.split()) - set(name.split())
    if " ".join(written.split()) in names().codes or made <= names().codes.keys() | KNOWN:
        return
    same = set(order.ingredients) <= {*names().codes[name], "insulin"}  # less is said, nothing else
    assert same or order.unknown or order.corrected


@pytest.mark.parametrize(
    "written", ["insulin npk", "tenofovir alafenqqqmide", "potassium chlqqide", "magnesium la tate"]
)
def test_a_part_of_a_name_is_not_the_drug(written: str) -> None:
    """A name that begins or ends a longer one is not told beside a word that nothing explains."""
    order = normalise(written)
    assert (order.ingredients, order.unknown) == ((), (written,))


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=150)
def test_any_text_is_read(text: str) -> None:
    """Any text gives an order that accounts for it; the same text gives the same."""
    order = normalise(text)
    assert order == normalise.__wrapped__(text)
    assert bool(text.strip()) == bool(order.ingredients or order.unknown or order.classes)


@given(st.lists(st.sampled_from(["Aspirin", "foozumab", "Lasix", "a statin", "qhs", "40 mg"]), min_size=1))
@settings(deadline=None, max_examples=60)
def test_known_drugs_are_found_beside_anything(parts: list[str]) -> None:
    """In a list every known drug is told, whatever stands beside it."""
    order = normalise(", ".join(parts))
    assert ("aspirin" in order.ingredients) == ("Aspirin" in parts)
    assert ("furosemide" in order.ingredients) == ("Lasix" in parts)
    assert ("foozumab" in order.unknown) == ("foozumab" in parts)
    assert ("statin" in order.classes) == ("a statin" in parts)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("diclofenac 1% gel", "topical"),
        ("clobetasol 0.05% foam", "topical"),
        ("triamcinolone 0.1% ointment", "topical"),
        ("metronidazole vaginal gel", "vaginal"),
        ("tobramycin eye drops", "ophthalmic"),
        ("albuterol inhaler", "inhaled"),
        ("lidocaine 5% patch", "transdermal"),
        ("hydrocortisone cream pr bid", "rectal"),
    ],
)
def test_route_follows_the_form_where_none_is_written(text: str, route: str) -> None:
    """A form that leaves no other route tells it; a written route goes before."""
    assert normalise(text).route == route


@pytest.mark.parametrize(
    ("text", "known", "classes"),
    [
        ("beta-blocker (metoprolol)", ("metoprolol",), ()),
        ("metoprolol (beta-blocker)", ("metoprolol",), ()),
        ("beta-blocker", (), ("beta_blocker",)),
        ("beta-blocker (foozumab)", (), ("beta_blocker",)),
    ],
)
def test_a_class_explained_by_a_drug(text: str, known: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """A drug in brackets behind its class is ordered; without one the class is said."""
    order = normalise(text)
    assert (order.ingredients, order.classes) == (known, classes)
