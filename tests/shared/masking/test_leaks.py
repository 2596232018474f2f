"""What tells who somebody is goes in the forms in which notes have it."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.masking import Mask
from shared.schemas import Identity, Vignette

VISIT = Identity(birth_date=dt.date(1963, 3, 4), date=dt.date(2021, 3, 18))
THEN, LATER, BORN = "[14 days before the visit]", "[8 days before the visit]", "[58 years old]"
OLD = "[90 years or older]"


def masked(text: str, identity: Identity = VISIT) -> str:
    """The text as a remote model sees it."""
    return Mask.of(Vignette(id="v", vignette=f"{text:20}.", identity=identity)).mask(text).text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # from … to
        ("3/4/2021-3/10/2021 and 3/4/21-3/10/21", f"{THEN}-{LATER} and {THEN}-{LATER}"),
        ("2021-03-04-2021-03-10, 2021-03-04--2021-03-10", f"{THEN}-{LATER}, {THEN}--{LATER}"),
        ("3-4-2021-3-10-2021, 04.03.2021-10.03.2021", f"{THEN}-{LATER}, {THEN}-{LATER}"),
        ("4-10 March 2021, 4. bis 10. März 2021", f"{LATER}, {LATER}"),
        ("March 4, 5 and 7 2021; March 4-7, 2021", f"{THEN}; {THEN}"),
        # points and two digits
        ("DOB 04.03.1963; geb. 04.03.63; born 4.3.63", f"DOB {BORN}; geb. {BORN}; born {BORN}"),
        ("seen 4.3.21, am 4.3.21, 04.03.21 CT", f"seen {THEN}, am {THEN}, {THEN} CT"),
        ("DOB 03041963, d.o.b 3/4/63", f"DOB {BORN}, d.o.b {BORN}"),
        ("It says 4.3.63 and 04031963 here.", "It says [the day of birth] and [the day of birth] here."),
        # months
        ("04Mar21, 04MAR21, 10 Mar 21", f"{THEN}, {THEN}, {LATER}"),
        ("Mar-10-2021, Mar-10-21, 2021-Mar-04", f"{LATER}, {LATER}, {THEN}"),
        ("2021 March 4; 2021/Mar/04", f"{THEN}; {THEN}"),
        ("10 Mar 14:30, Mar 10 at 14:30", f"{LATER} 14:30, {LATER} at 14:30"),
        # joined to something else
        ("note_2021-03-04.pdf, 3/4/2021_note, 2021-03-04-note", f"note_{THEN}.pdf, {THEN}_note, {THEN}-note"),
        ("CT 3-4-21, started metformin 3-4-21", f"CT {THEN}, started metformin {THEN}"),
        ("last insulin 3-4-21, insulin 03-04-21", f"last insulin {THEN}, insulin {THEN}"),
        ("called 03/04/2021, back on 03/04/2021", f"called {THEN}, back on {THEN}"),
    ],
)
def test_dates(text: str, shown: str) -> None:
    """Each date is one placeholder that tells the time, and nothing of it is left beside."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "SSN 123-45-6789 is",
        "call 617-555-0199 now",
        "a 94-year-old woman",
        "DOB 1963-03-04 is",
        "on 3/4/2021 we",
    ],
)
@given(
    hyphen=st.sampled_from("-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"),
    slash=st.sampled_from("/\uff0f"),
    zero=st.sampled_from("0\uff10\u0660\u0966\U0001d7ce"),
    space=st.sampled_from(" \u00a0\u2009"),
)
def test_other_hyphens_digits_and_spaces(text: str, hyphen: str, slash: str, zero: str, space: str) -> None:
    """What is found by its shape is found in whichever characters it is written."""
    signs = str.maketrans({"-": hyphen, "/": slash, " ": space})
    digits = str.maketrans({str(digit): chr(ord(zero) + digit) for digit in range(10)})
    before, placeholder, after = re.split(r"(\[.*\])", masked(text))
    expected = f"{before.translate(signs)}{placeholder}{after.translate(signs)}"
    assert masked(text.translate(signs).translate(digits)) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "94F with CHF. A 94M fell. Pt 94 M is here.",
            f"{OLD}F with CHF. A {OLD}M fell. Pt {OLD} M is here.",
        ),
        ("A 94yoF and a 97yom, age=94, Age: 94", f"A {OLD}F and a {OLD}m, age={OLD}, Age: {OLD}"),
        ("Mrs. Okafor (94), Okafor, 91, was (94)", f"Mrs. [NAME-1] ({OLD}), [NAME-1], {OLD}, was (94)"),
        ("Mother (94) and father, 91, live", f"Mother ({OLD}) and father, {OLD}, live"),
        ("Mr. Vega (94M), 95, female", f"Mr. [NAME-1] ({OLD}M), {OLD}, female"),
    ],
)
def test_ages_over_89(text: str, shown: str) -> None:
    """With a sex, beside a name, behind a sign."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "written",
    [
        *(
            "tel 06.12.34.56.78",
            "Phone 617/555-0199",
            "call 0171 5550199",
            "Tel 030/123456",
            "Ph: 617 555 0199",
        ),
        *(
            "Home: 020 7946 0958",
            "Office: 555 0199",
            "reached at 617.555.0199",
            "contact number: 0171/5550199",
        ),
    ],
)
def test_telephones(written: str) -> None:
    """Behind a word that says so, or says that it may be one, with a telephone's grouping."""
    shown = masked(f"It reads {written} there.")
    assert "[CONTACT-1] there" in shown
    assert not any(char.isdecimal() for char in shown.replace("[CONTACT-1]", ""))


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Maria D'Angelo", "D Angelo; D. Angelo; d'angelo's son", "[NAME-1]; [NAME-1]; [NAME-1]'s son"),
        (
            "Sean OBrien",
            "O Brien; O'Brien's son; o\u2019brien; OBRIEN",
            "[NAME-1]; [NAME-1]'s son; [NAME-1]; [NAME-1]",
        ),
        ("Omar Al-Hassan", "Alhassan; Al Hassan; Omar Alhassan", "[NAME-1]; [NAME-1]; [NAME-1]"),
        ("Omar Alhassan", "Al-Hassan; Al Hassan; Omar Al-Hassan", "[NAME-1]; [NAME-1]; [NAME-1]"),
        ("John Smith", "The Smiths' home; Smiths home", "The [NAME-1]s' home; [NAME-1]s home"),
        ("Rosa Vega", "Dr.Wilks and Mr.Haldane; Wilks", "Dr.[NAME-3] and Mr.[NAME-2]; [NAME-3]"),
        ("Rosa Vega", "saw dr. henry howard . howard agreed", "saw dr. [NAME-2] . [NAME-2] agreed"),
        ("Rosa Vega", "dr. moore ordered metoprolol", "dr. [NAME-2] ordered metoprolol"),
        ("Rosa Vega", "Iwo Dvorak, 61 years, came", "[NAME-2], 61 years, came"),
        ("Lea Braun", "dr. twice weekly, twice daily", "dr. [NAME-2] weekly, twice daily"),
        ("John Brook", "Brooks and brooks; one of other books", "Brooks and brooks; one of other books"),
    ],
)
def test_names(name: str, text: str, shown: str) -> None:
    """Joined or apart, in the plural, behind a title without a space, dictated in small letters."""
    assert masked(text, Identity(names=[name])) == shown


def test_two_telephones_in_a_row() -> None:
    """Together they have more digits than any telephone; nothing of them is left."""
    shown = masked("Home: 0171/5550199 030 55501990 here")
    assert re.fullmatch(r"Home: \[CONTACT-1\] \[\w+-1\] here", shown)


def test_the_recorded_birth_date_in_structured_mode() -> None:
    """With a point and two digits, where nothing but the record is looked for."""
    text = "geb. 04.03.63, seen 05.03.20 and called 555-0199."
    mask = Mask.of(Vignette(id="v", vignette=text, identity=VISIT), "structured")
    assert mask.mask(text).text == f"geb. {BORN}, seen 05.03.20 and called 555-0199."


def test_somebody_elses_placeholder_in_another_form() -> None:
    """[NAME 1] of a text that was de-identified before does not become our first person."""
    text = "[NAME 1] referred Mr. John Smith."
    mask = Mask.of(Vignette(id="v", vignette=text, identity=Identity(names=["John Smith"])))
    assert mask.mask(text).text == "[NAME 1] referred Mr. [NAME-2]."
    assert mask.unmask("[NAME 1] [NAME 2]") == "[NAME 1] John Smith"
