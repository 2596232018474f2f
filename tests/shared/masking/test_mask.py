"""Masking: what goes, what stays, one table for the whole consultation, and the way back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.generate import vignettes as panel_vignettes
from shared.masking import Mask, installed_finders
from shared.prompts import render_case
from shared.schemas import Context, Identity, Medication, Recommendation, Vignette

RECORD = Identity(
    names=[
        "María García-López",
        "Dr. Alan Young",
        "O'Brien, Sean",
        "May Chen",
        "Mr. John Smith",
        "Parkinson, Will",
    ],
    identifiers=["00-123-456", "AB12345"],
    addresses=["12 Oak Street, Springfield, IL 62701", "Reading"],
    contacts=["+1 (555) 123-4567", "maria@example.org"],
    birth_date=dt.date(1963, 3, 4),
    date=dt.date(2021, 3, 18),
)


def vignette(text: str, identity: Identity | None = None, **context: Any) -> Vignette:
    """A vignette of this text; long enough."""
    padded = f"{text}{' ' * max(0, 20 - len(text))}."
    return Vignette(
        id="v", vignette=padded, identity=identity or RECORD, context=Context.model_validate(context)
    )


def masked(text: str, identity: Identity | None = None, **context: Any) -> str:
    """The text as a remote model sees it."""
    return Mask.of(vignette(text, identity, **context)).mask(text).text


@pytest.mark.parametrize(
    "written",
    [
        *(
            "María García-López",
            "Maria Garcia-Lopez",
            "GARCIA",
            "García",
            "garcia-lopez",
            "Lopez, Maria",
            "M. Lopez",
        ),
        *("M.G. Lopez", "Lopez M", "Dr. Lopez", "Maria Lopez", "María\nGarcía"),
    ],
)
def test_a_recorded_person_is_one_placeholder(written: str) -> None:
    """Whole, by parts, with initials, in another case, without accents, over a line's end; 's stays."""
    shown = masked(f"They met {written}'s sister today, and {written} agreed.")
    assert shown.replace("Dr. ", "") == "They met [NAME-1]'s sister today, and [NAME-1] agreed."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Young man. Seen by Dr. Young today.", "Young man. Seen by Dr. [NAME-2] today."),
        ("We told Young that young age helps.", "We told [NAME-2] that young age helps."),
        ("May repeat in May; May Chen agreed.", "May repeat in May; [NAME-4] agreed."),
        ("Will return. Will is better; he will walk.", "Will return. [NAME-6] is better; he will walk."),
        ("Parkinson's disease in Mr. Parkinson.", "Parkinson's disease in Mr. [NAME-6]."),
        ("OBrien and O’Brien's wife came.", "[NAME-3] and [NAME-3]'s wife came."),
        ("Smith fracture; smith was told.", "Smith fracture; [NAME-5] was told."),
        ("St. John's wort and John.", "St. John's wort and [NAME-5]."),
        ("Reading is hard since he moved to Reading.", "Reading is hard since he moved to [PLACE-2]."),
    ],
)
def test_names_that_are_words_stay_words(text: str, shown: str) -> None:
    """A word, month, disease or place is masked only where it stands as a name."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    "written",
    [
        *("00-123-456", "00123456", "00 123 456", "ab12345", "AB-12345", "(555) 123-4567", "555.123.4567"),
        *("15551234567", "MARIA@example.org", "12 Oak St.", "12 oak street", "Springfield", "62701"),
    ],
)
def test_what_the_record_gives_goes_however_it_is_written(written: str) -> None:
    """Identifiers, contacts and addresses, with other separators, short forms, case; structured as well."""
    text = f"He wrote down {written} for us."
    for mode in ("strict", "structured"):
        shown = Mask.of(vignette(text), "structured" if mode == "structured" else "strict").mask(text).text
        assert written not in shown
        assert "[" in shown


CLINICAL = [
    "BP 140/90, pain 6/10, grade 2/6 murmur, 4/5 strength, 24/7 care, 3/4 strength bleach, 12/12 pulses.",
    "Take 1/2 tablet, 10/325 mg, 500 mg/5 mL, 1000000 units, 1,200,000 units, 0.125 mg,",
    "Also 20-30 mg, insulin 10 units.",
    "T4/T5 disc, L4-L5, C5-6, HLA-B*57:01, CD4 350, vitamin B12 1000 mcg, factor V Leiden,",
    "Also COVID-19, 5-FU, H1N1.",
    "For 14 days, 3 weeks ago, q 4-6 hours, 38.7 °C, HbA1c 8.1 %, eGFR 45, 100,000 colonies,",
    "Also platelets 250,000.",
    "May repeat in 5 minutes. March fracture. Type 2 diabetes. Class III obesity. In March. Since 2015.",
    "Foley catheter, Crohn's disease, Bell's palsy, Babinski sign, Apgar 9,",
    "Also Glasgow Coma Scale 15, Wilson disease.",
    "Metformin, Allegra, Lasix 40 mg, Tylenol PM, Jardiance. Icy Hot. Advair 250/50.",
    "Also Staphylococcus aureus grew.",
    "A 67-year-old man, 89 years old, 95 pack-years, 120 mg, age 45. Her mother died.",
    "Also Patient denies chest pain.",
    "CHIEF COMPLAINT\n\nPatient Education and Counseling: Regular Rate. Hypertension, MI,",
    "Also stroke. Chest CT, PA view.",
]


@pytest.mark.parametrize("text", CLINICAL)
def test_clinical_text_stays(text: str) -> None:
    """Doses, readings, levels, durations, eponyms, drugs and headings are nobody's."""
    assert masked(text, Identity(), age=45) == text


def test_the_panels_vignettes_stay_but_for_ages() -> None:
    """100 generated cases are shown as they are; an age over 89 is one group."""
    for made in panel_vignettes(100, 3, None):
        case = Vignette.model_validate(made)
        shown = Mask.of(case).mask(render_case(case))
        assert set(shown.counts) <= {"age"}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        *(
            (form, "14 days before the visit")
            for form in ("2021-03-04", "3/4/2021", "03-04-21", "March 4, 2021")
        ),
        *(
            (form, "14 days before the visit")
            for form in ("4 Mar 2021", "4th of March", "04MAR2021", "Mar 4th, 2021")
        ),
        *(
            (form, "14 days before the visit")
            for form in ("4. März 2021", "20210304", "2021-03-04T10:22:00Z")
        ),
        ("3/18/2021", "the day of the visit"),
        ("March 19, 2021", "1 day after the visit"),
        ("12/2019", "about 15 months before the visit"),
        ("June 2001", "about 20 years before the visit"),
        ("March 4, 1963", "the day of birth"),
    ],
)
def test_dates_become_relative(written: str, shown: str) -> None:
    """By the record's date; the recorded day of birth is called so: what was measured then is no age."""
    assert masked(f"It was noted on {written} and again.") == f"It was noted on [{shown}] and again."


def test_dates_without_a_record_count_from_the_latest() -> None:
    """Their order and distances are kept; a date of birth is none of them; nothing to count from says so."""
    assert masked("DOB: 3/4/1963. Seen 1/2/2020, worse since 12/30.", Identity()) == (
        "DOB: [56 years old]. Seen [the latest date], worse since [3 days before the latest date]."
    )
    assert masked("On 25/2/2020 and before on 1/2/2020.", Identity()) == (
        "On [the latest date] and before on [24 days before the latest date]."
    )
    assert masked("First on 3/1/2020, then on 3/11/2020.", Identity()) == (
        "First on [10 days before the latest date], then on [the latest date]."
    )
    assert (
        masked("She was born on 3/4/1963, we read.", Identity())
        == "She was born on [date of birth], we read."
    )
    assert (
        masked("She was born on 3/4/1963, we read.", Identity(), age=60)
        == "She was born on [60 years old], we read."
    )


@given(st.lists(st.dates(dt.date(2019, 1, 1), dt.date(2021, 12, 31)), min_size=2, max_size=4, unique=True))
@settings(max_examples=25, deadline=None)
def test_relative_dates_keep_their_order(days: list[dt.date]) -> None:
    """A reader can tell which came first wherever the days are counted out."""
    text = "; ".join(f"on {day:%m/%d/%Y}" for day in days)
    mask = Mask.of(vignette(text, Identity()))
    shown = mask.mask(text).text
    assert not any(f"{day:%Y}" in shown for day in days)
    latest = max(days)
    for day in days:
        apart = (latest - day).days
        if 0 < apart <= 120:
            assert f"[{apart} day{'s' * (apart > 1)} before the latest date]" in shown


@pytest.mark.parametrize(
    "written", ["94-year-old", "94 y/o", "94 years old", "94yo", "ninety-four-year-old", "101 years of age"]
)
def test_ages_over_89_are_one_group(written: str) -> None:
    """45 CFR 164.514(b)(2)(i)(C); 89 stays."""
    assert masked(f"A {written} woman came.", Identity()) == "A [90 years or older] woman came."
    assert masked("An 89-year-old woman came.", Identity()) == "An 89-year-old woman came."


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("MRN: 4711-22 was given.", "4711"),
        ("SSN 123-45-6789 is known.", "6789"),
        ("Call (617) 555-0199 or fax +44 20 7946 0958.", "0199 0958"),
        (
            "Write to a.b@mail.example.com or https://x.example.com/p?id=1 from 10.1.2.3.",
            "mail x.example 10.1",
        ),
        ("He lives in Ashtabula, Ohio 44004 at 77 Elm Road, Apt 3.", "Ashtabula 44004 Elm"),
        ("Treated at Mercy General Hospital.", "Mercy"),
        ("His wife Nkechi Okafor and Dr. Wojcik agreed. Nkechi called.", "Nkechi Okafor Wojcik"),
        ("Signed by Tamsin Vogel, RN.", "Tamsin Vogel"),
        ("i'm dr. moore .", "moore"),
        ("Policy number XK998877; account # 123456789.", "XK99 12345"),
    ],
)
def test_shapes_and_cues(text: str, gone: str) -> None:
    """What no record gives, by its shape or by what stands beside it; a state stays."""
    shown = masked(text, Identity())
    assert [word for word in gone.split() if word in shown] == []
    assert ("Ohio" in shown) == ("Ohio" in text)


def test_one_table_for_all_texts() -> None:
    """The answer under review calls people as the case does, and who is new there gets no number."""
    mask = Mask.of(vignette("Mr. Smith, MRN 4711-22, was seen with his wife Orla on 3/4/2021."))
    answer = mask.mask("Smith (4711 22) and Orla agreed on 3/4/2021; ask Dr. Unheard.").text
    assert (
        answer
        == "[NAME-5] ([IDENTIFIER-3]) and [NAME-7] agreed on [14 days before the visit]; ask Dr. [NAME]."
    )
    assert mask.unmask("Tell [NAME-5] and [name-7] of [NAME]") == "Tell John Smith and Orla of [NAME]"
    again = Mask.of(
        vignette("Mr. Smith, MRN 4711-22, was seen with his wife Orla on 3/4/2021."), "structured"
    )
    assert again.unmask("[NAME-7] [IDENTIFIER-3]") == "Orla 4711-22", "the table does not depend on the mode"


def test_somebody_elses_placeholders_stay() -> None:
    """A text that is de-identified already keeps its own placeholders, and they are not ours."""
    text = "[NAME-1] and Mr. Smith came, [14 days before the visit]."
    mask = Mask.of(vignette(text, Identity(names=["John Smith"])))
    assert mask.mask(text).text == "[NAME-1] and Mr. [NAME-2] came, [14 days before the visit]."
    assert mask.unmask("[NAME-1] [NAME-2]") == "[NAME-1] John Smith"


PIECES = st.sampled_from(
    [
        "John Smith",
        "00123456",
        "AB12345",
        "Springfield",
        "maria@example.org",
        "aspirin 81 mg",
        "BP 140/90",
        "fever",
        "and",
    ]
)
WHOLE = Identity(
    names=["John Smith"],
    identifiers=["00123456", "AB12345"],
    addresses=["Springfield"],
    contacts=["maria@example.org"],
)


@given(st.lists(PIECES, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_round_trip(pieces: list[str]) -> None:
    """What stands as the record gives it comes back as it was, and nothing of it is left between."""
    text = f"Seen: {', '.join(pieces)} today."
    mask = Mask.of(vignette(text, WHOLE))
    shown = mask.mask(text).text
    assert not any(word in shown for word in ("Smith", "00123456", "AB12345", "Springfield", "example"))
    assert mask.unmask(shown) == text


@given(st.text(alphabet=st.sampled_from("aA1é [](){}<>\n.,/-:#@'_SmithJonMRDO0362"), max_size=120))
@settings(max_examples=80, deadline=None)
def test_twice_is_once_and_no_fence_appears(text: str) -> None:
    """Masking a masked text changes nothing, never fails, and makes nothing that looks like a fence."""
    mask = Mask.of(vignette(f"Mr. Smith was seen. {text}"))
    once = mask.mask(text).text
    assert mask.mask(once).text == once
    assert once.count("<<<") <= text.count("<<<")


def test_answers_are_read_with_their_names() -> None:
    """Every field of an answer is unmasked; one that would outgrow its schema stays as it came."""
    mask = Mask.of(vignette("Mr. Smith was seen."))
    order = Medication(name="aspirin", action="start", indication="as [NAME-5] asked")
    answer = Recommendation(
        decision="recommend", medications=[order], rationale="[NAME-5] is [58 years old]."
    )
    read = mask.unmasked(answer)
    assert read.medications[0].indication == "as John Smith asked"
    assert read.rationale == "John Smith is [58 years old]."
    long = answer.model_copy(update={"rationale": "[NAME-5]" * 1000})
    assert mask.unmasked(long) == long


def test_one_more_finder() -> None:
    """A finder of somebody else's is one source more; none is installed here, and none is the rule."""
    assert installed_finders() == ()
    text = "the gardener zyx was seen here."
    mask = Mask.of(
        vignette(text), more=(lambda t: [(t.index("zyx"), t.index("zyx") + 3, "name")] if "zyx" in t else [],)
    )
    assert mask.mask(text).text == "the gardener [NAME-7] was seen here."


def test_counts_by_kind() -> None:
    """What was masked is counted, by kind, and nothing else of it is kept."""
    done = Mask.of(vignette("Mr. Smith")).mask("Smith and Smith on 3/4/2021, MRN 99887766")
    assert done.counts == {"name": 2, "date": 1, "identifier": 1}
    assert done.total == 4
    assert "Smith" not in repr(done)
