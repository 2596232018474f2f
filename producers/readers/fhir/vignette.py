"""A chart on a day → a vignette: what was known then, in sentences, and the structured context."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from producers.readers.fhir.chart import Chart, Condition, Drug, Encounter, Note, Person
from producers.readers.fhir.identity import Who
from producers.readers.fhir.node import Fault, When
from producers.readers.fhir.notes import unpacked
from producers.readers.fhir.observations import (
    CHIEF_COMPLAINT,
    CREATININE,
    DUE,
    EGFR,
    LONGEST_PREGNANCY,
    PREGNANCY,
    egfr_of,
    is_pregnancy,
    pregnant_on,
    told,
    years,
)
from shared.schemas import Context, CurrentMedication, Vignette

LONGEST = 20_000  # characters of a vignette
_MOST, _NAME, _DOSE = 200, 300, 200  # of the schema: entries of a list, characters


@dataclass(frozen=True)
class Moment:
    """The day a vignette speaks of, and why that one."""

    on: dt.date
    why: str  # "the latest day that is recorded"
    key: str = ""  # of the encounter
    encounter: Encounter | None = None


def compose(chart: Chart, moment: Moment, medications: Mapping[str, str], who: Who) -> Vignette:
    """The vignette of a chart. `medications`: names of Medication resources by key.

    Raises `Fault` where a medicine that is taken has no name.
    """
    person, on = _person(chart), moment.on
    current, before, proposed, avoid = _drugs(chart, moment, medications)
    active, past = _conditions(chart, moment)
    age = _age(person.birth, on)
    pregnant = None if _sex(person) == "male" else pregnant_on(chart.findings, active, on)
    kidneys = egfr_of(chart.findings, person.birth, _sex_of_body(person), on)
    allergies = [each for each in chart.allergies.values() if each.start is None or each.start.day <= on]
    substances = list(dict.fromkeys(each.substance[:_NAME] for each in allergies if each.substance))
    context = Context(
        age=age,
        sex=_sex(person),
        conditions=[each.words[:_NAME] for each in active][:_MOST],
        allergies=substances[:_MOST],
        medications=[CurrentMedication(name=n[:_NAME], dose=d[:_DOSE] or None) for n, d, _ in current][
            :_MOST
        ],
        pregnant=pregnant,
        egfr=None if kidneys is None else round(kidneys[0], 1),
    )
    reactions = [f"{a.substance} ({a.detail})" if a.detail else a.substance for a in allergies if a.substance]
    denied = [a.none_known for a in allergies if a.none_known]
    said = [
        _opening(person, age, moment),
        _encounters(chart, moment),
        _list("Presenting complaint", told(chart.findings, on, [CHIEF_COMPLAINT]), 1500),
        _list("Active conditions", [_condition(each) for each in active], 4000)
        or "No active condition is recorded.",
        _list("Earlier conditions", [_condition(each) for each in past], 1500),
        _list("Allergies and intolerances", reactions, 2500)
        or (f"{'; '.join(dict.fromkeys(denied))}." if denied else "No allergy is recorded."),
        _list("Current medications", [_medicine("since", *each) for each in current], 5000)
        or "No current medication is recorded.",
        _list(
            "Earlier medications, no longer taken",
            [_medicine("ordered", n, "", w) for n, _, w in before],
            1200,
        ),
        _list("Not to be given by order", [name for name, _, _ in avoid], 500),
        _list(
            "Orders under consideration, not yet given", [_medicine("dated", *each) for each in proposed], 800
        ),
        "Pregnant: yes." if pregnant else "Not pregnant." if pregnant is False else "",
        f"eGFR {kidneys[0]:.0f} mL/min/1.73 m² ({kidneys[1]})." if kidneys else "",
        _list("Last values", told(chart.findings, on, _told_apart(chart)), 2500),
    ]
    text = "\n".join(each for each in said if each)
    text += _notes(chart, moment, LONGEST - len(text))
    try:
        return Vignette(
            id=moment.encounter.id if moment.encounter else person.id,
            vignette=text,
            context=context,
            identity=who.identity(
                _exact(person.birth), on, patient=f"Patient/{person.id}", encounter=_told(moment)
            ),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Fault("Patient.id", f"does not fit a record ({first['type']}): shorten it") from None


def _told(moment: Moment) -> str | None:
    """The source's reference to the encounter; where that has no id, the key is its place: no reference."""
    return moment.key if moment.encounter is not None and "/" not in moment.encounter.id else None


def _person(chart: Chart) -> Person:
    if chart.person is None:
        raise Fault("Patient", "is not in the input: send the Patient resource along", code="no_patient")
    return chart.person


def _age(birth: When | None, on: dt.date) -> float | None:
    if birth is None:
        return None
    age = years(birth, on)
    if birth.day - on > dt.timedelta(days=1) or age > 130:
        raise Fault("Patient.birthDate", f"makes no age on {on.isoformat()}, the record's day: correct one")
    return age


def _exact(birth: When | None) -> dt.date | None:
    return birth.day if birth is not None and len(birth.raw) >= 10 else None


def _sex(person: Person) -> str | None:
    return person.sex or person.sex_at_birth


def _sex_of_body(person: Person) -> str | None:
    """The sex that a formula may use: none where the recorded ones differ."""
    sexes = {person.sex, person.sex_at_birth} - {None}
    return sexes.pop() if len(sexes) == 1 else None


def _conditions(chart: Chart, moment: Moment) -> tuple[list[Condition], list[Condition]]:
    active: list[Condition] = []
    past: list[Condition] = []
    for each in _newest_first(chart.conditions.values()):
        here = bool(moment.key) and each.encounter == moment.key
        if each.start is not None and each.start.day > moment.on and not here:
            continue
        now = each.active
        if moment.key and not now:  # over by today, but then?
            now = here or (each.end is not None and each.end.day > moment.on)
        if now and is_pregnancy(each) and each.start and moment.on - each.start.day > LONGEST_PREGNANCY:
            now = False  # nobody is: it was never closed
        (active if now else past).append(each)
    return _once(active), _once(past)


def _once(conditions: Iterable[Condition]) -> list[Condition]:
    kept: dict[str, Condition] = {}
    for each in conditions:
        kept.setdefault(each.words.lower(), each)
    return list(kept.values())


def _newest_first(conditions: Iterable[Condition]) -> list[Condition]:
    return sorted(conditions, key=lambda each: each.start.day if each.start else dt.date.min, reverse=True)


Named = tuple[str, str, str]  # name, dose, since


def _drugs(
    chart: Chart, moment: Moment, medications: Mapping[str, str]
) -> tuple[list[Named], list[Named], list[Named], list[Named]]:
    """(taken now, taken before, under consideration, not to be given), newest first, each once."""
    lists: dict[str, dict[tuple[str, str], Named]] = {s: {} for s in ("now", "before", "proposed", "avoid")}
    drugs = sorted(chart.drugs.values(), key=_recency)
    taken: set[str] = set()
    for drug in sorted(drugs, key=lambda each: each.kind != "MedicationRequest"):
        where = _where(drug, moment)
        if not where:
            continue
        name = medications.get(drug.medication, "") or drug.name
        if not name:
            if where in ("now", "avoid"):
                raise Fault(
                    drug.path,
                    "points to a Medication that is not in the input or has no name: send it along, or give "
                    "the reference's display",
                )
            continue
        if where == "now":
            # a statement or a dispense of what is ordered says nothing new
            if drug.kind != "MedicationRequest" and name.lower() in taken:
                continue
            taken.add(name.lower())
        key = (name.lower(), drug.dose if where == "now" else "")
        lists[where].setdefault(key, (name, drug.dose, drug.start.written if drug.start else ""))
    before = [each for each in lists["before"].values() if each[0].lower() not in taken]
    now, proposed, avoid = (list(lists[each].values()) for each in ("now", "proposed", "avoid"))
    return now, before, proposed, avoid


def _recency(drug: Drug) -> int:
    return -(drug.start.day.toordinal() if drug.start else 0)


def _where(drug: Drug, moment: Moment) -> str:
    begun = drug.start is None or drug.start.day <= moment.on
    here = bool(moment.key) and drug.encounter == moment.key
    if not (begun or here):
        return ""
    if drug.state in ("proposed", "avoid"):
        return drug.state
    if drug.state == "current":
        ended = drug.kind == "MedicationStatement" and drug.end is not None and drug.end < moment.on
        return "before" if ended else "now"
    supplied = drug.start is not None and drug.end is not None and drug.end >= moment.on
    if (here and drug.kind == "MedicationRequest") or (
        supplied and (drug.state == "completed" or moment.key)
    ):
        return "now"
    return "before"


def _opening(person: Person, age: float | None, moment: Moment) -> str:
    sex = _sex(person)
    child = age is not None and age < 18
    noun = {"female": "girl" if child else "woman", "male": "boy" if child else "man"}.get(
        sex or "", "patient"
    )
    if age is None:
        first = f"A {noun} of unknown age" if sex else "A patient of unknown age and sex"
    elif age < 2:
        first = f"A {noun} aged {round(age * 12)} months"
    else:
        an = "An" if int(age) in (8, 11, 18) or 80 <= age < 90 else "A"
        first = f"{an} {age:.0f}-year-old {noun}"
    if person.sex and person.sex_at_birth and person.sex != person.sex_at_birth:
        first += f" (recorded gender {person.sex}, sex at birth {person.sex_at_birth})"
    return f"{first}. This is what was known on {moment.on.isoformat()}, {moment.why}."


def _encounters(chart: Chart, moment: Moment) -> str:
    found = moment.encounter
    if found is None:
        begun = [each for each in chart.encounters.values() if each.start and each.start.day <= moment.on]
        found = max(begun, key=lambda each: (each.start, each.id), default=None)
        if found is None:
            return ""
    what = "Encounter" if moment.encounter else "Last encounter"
    day = f" on {found.start.written}" if found.start else ""
    reasons = f"; reason: {', '.join(found.reasons)}" if found.reasons else ""
    return f"{what}{day}: {found.words or 'type not recorded'}{reasons}."[:1200]


def _condition(each: Condition) -> str:
    start, end = each.start.written if each.start else "", each.end.written if each.end else ""
    if start and end:
        return f"{each.words} ({start} to {end})"
    return f"{each.words} (since {start})" if start else f"{each.words} (until {end})" if end else each.words


def _medicine(word: str, name: str, dose: str, day: str) -> str:
    return f"{name}{f' - {dose}' if dose else ''}{f' ({word} {day})' if day else ''}"


def _told_apart(chart: Chart) -> list[str]:
    """Kinds of findings that the list of values tells: those with a line of their own are not."""
    apart = {CHIEF_COMPLAINT, EGFR, PREGNANCY}
    return [label for label in chart.findings if label not in apart or label in (CREATININE, DUE)]


def _list(name: str, entries: list[str], room: int) -> str:
    """One sentence; what does not fit is counted."""
    if not entries:
        return ""
    said: list[str] = []
    for entry in entries:
        room -= len(entry[:_NAME]) + 2
        if room < 0 and said:
            break
        said.append(entry[:_NAME])
    more = len(entries) - len(said)
    return f"{name}: {'; '.join(said)}{f'; and {more} more' if more else ''}."


def _notes(chart: Chart, moment: Moment, room: int) -> str:
    """Notes up to the day, this encounter's and the newest first, as far as there is room."""
    known = [
        each
        for each in chart.notes.values()
        if each.when is None
        or each.when.day <= moment.on
        or (bool(moment.key) and each.encounter == moment.key)
    ]
    known.sort(key=lambda each: each.when.raw if each.when else "", reverse=True)
    known.sort(key=lambda each: not moment.key or each.encounter != moment.key)
    text, left = "", 0
    for note in known:
        whole = f"\n\n{_heading(note)}\n{unpacked(note)}"
        free = room - len(text) - 60  # for the line that counts what is left out
        if left or free < 400:
            left += 1
            continue
        text += whole if len(whole) <= free else f"{whole[: free - 6]} […]"
    return f"{text}\n\n{left} older notes are left out." if left else text


def _heading(note: Note) -> str:
    return f"{note.title}, {note.when.written}:" if note.when else f"{note.title}:"
