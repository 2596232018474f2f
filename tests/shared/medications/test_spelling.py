"""Misspelled words: read within a bound, and never between look-alikes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medications import normalise
from shared.medications.names import names
from shared.medications.spelling import LONG, SHORTEST, Sounder, Speller

LOOK_ALIKES = (
    ("hydroxyzine", "hydralazine"),
    ("clonidine", "clonazepam"),
    ("chlorpromazine", "chlorpropamide"),
    ("prednisone", "prednisolone"),
    ("vinblastine", "vincristine"),
    ("celebrex", "celexa", "cerebyx"),
    ("lamictal", "lamisil"),
    ("metformin", "metronidazole"),
    ("glipizide", "glyburide"),
    ("tramadol", "trazodone"),
    ("bupropion", "buspirone"),
    ("dopamine", "dobutamine"),
    ("epinephrine", "ephedrine"),
    ("fluoxetine", "fluvoxamine", "duloxetine"),
    ("cycloserine", "cyclosporine"),
    ("quinine", "quinidine"),
    ("sulfadiazine", "sulfasalazine"),
    ("rifampin", "rifaximin"),
    ("carbamazepine", "oxcarbazepine"),
    ("zyprexa", "zyrtec"),
)


@pytest.mark.parametrize("names_", LOOK_ALIKES, ids="/".join)
def test_look_alikes_stay_apart(names_: tuple[str, ...]) -> None:
    """Each of them is itself, and no slip with one of them gives the other."""
    for one, other in itertools.permutations(names_, 2):
        assert normalise(one).ingredients == names().codes[one]
        for at in range(len(one)):
            for written in (one[:at] + one[at + 1 :], one[:at] + "x" + one[at + 1 :]):
                assert not set(normalise(written).ingredients) & set(names().codes[other])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Simvistatin", "simvastatin"),
        ("simvastatni", "simvastatin"),
        ("metropolol", "metoprolol"),  # two edits in a long name
        ("potasium", "potassium"),
        ("Lasxi", "lasix"),
        ("levo thyroxine", "levothyroxine"),  # a space too many
    ],
)
def test_misspelling_is_marked(written: str, meant: str) -> None:
    """What was corrected is told with the name it was read as."""
    assert normalise(f"{written} 10 MG").corrected == {written: meant}


@pytest.mark.parametrize(
    "written",
    [
        "prednislone",  # as near to prednisone as to prednisolone
        "relax",
        "inulin",
        "equip",
        "zimvystatin",  # two edits, and the first letter is one of them
        "advl",
    ],
)
def test_beyond_the_bound_or_right_as_it_is(written: str) -> None:
    """A doubtful word, an English word and a short one are not read as a drug."""
    order = normalise(written)
    assert (order.ingredients, order.unknown) == ((), (written,))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("hidroclorotiazida", "hydrochlorothiazide"),
        ("levotiroxina", "levothyroxine"),
        ("ibuprophen", "ibuprofen"),
        ("sulphasalazin", "sulfasalazine"),
    ],
)
def test_other_languages_spellings_are_heard(written: str, meant: str) -> None:
    """A long word that sounds like one known name is read as it, and marked."""
    order = normalise(written)
    assert (order.ingredients, [*order.corrected]) == (names().codes[meant], [written])


def test_a_sound_decides_nothing_between_look_alikes() -> None:
    """What sounds like two drugs is neither, nor is what is one edit from another one; nor a short word."""
    sounder = Sounder(
        {"quinine": 1, "quinnine": 2, "quinidine": 3, "codein": 4, "amoxicillin": 5}, ["amoxicilin"]
    )
    assert [sounder.read(w) for w in ("quininne", "quiniddine", "kodein", "amoxicilin", "amoxycillin")] == [
        None,
        "quinidine",
        None,
        None,
        "amoxicillin",
    ]
    assert normalise("quiniine").unknown == ("quiniine",)


def distance(a: str, b: str) -> int:
    """Levenshtein's, by the textbook."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i, *row[1:]], row
        for j, y in enumerate(b, 1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
    return row[-1]


words = st.text("abc", min_size=SHORTEST, max_size=LONG + 3)


def exchanged(word: str) -> set[str]:
    """A word with two neighbours exchanged, in every way."""
    return {word[:i] + word[i : i + 2][::-1] + word[i + 2 :] for i in range(len(word) - 1)}


@given(st.sets(words, max_size=12), words)
@settings(deadline=None, max_examples=300)
def test_reads_as_a_full_search_would(known: set[str], written: str) -> None:
    """The index misses nothing: the answer is that of comparing with every known word."""
    reach = {
        word
        for word in known
        if word in exchanged(written)
        or (
            distance(written, word) <= (2 if len(word) >= LONG else 1)
            and (len(word) > SHORTEST or word[0] == written[0])
        )
    }
    trusted = {
        word
        for word in reach
        if word[0] == written[0] or word in exchanged(written) or distance(word, written) == 1
    }
    read = Speller({word: word for word in known}).read(written)
    alone = written not in known and len(reach) == 1
    assert read == (next(iter(trusted), None) if alone else None)
