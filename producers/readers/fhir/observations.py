"""Observation → findings: vital signs and laboratory values by LOINC, renal function, pregnancy."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping

from producers.readers.fhir.chart import Condition, Finding, Retracted, Source, Unused
from producers.readers.fhir.node import Concept, Fault, Node, When

EGFR, CREATININE, PREGNANCY, DUE = "eGFR", "creatinine", "pregnancy", "expected date of delivery"
CHIEF_COMPLAINT = "chief complaint"
_GRAVE = (EGFR, CREATININE, PREGNANCY)

_LABELS = {  # LOINC codes of what a vignette tells, in its order
    CHIEF_COMPLAINT: "8661-1 10154-3",
    PREGNANCY: "82810-3 11449-6",
    DUE: "11778-8 11779-6 11780-4 11781-2",
    EGFR: "33914-3 48642-3 48643-1 50044-7 50210-4 50384-7 62238-1 69405-9 70969-1 76633-7 77147-7 88293-6 "
    "88294-4 94677-2 98979-8 98980-6",
    CREATININE: "2160-0 38483-4 14682-9",
    "blood pressure": "85354-9 55284-4",
    "systolic blood pressure": "8480-6",
    "diastolic blood pressure": "8462-4",
    "heart rate": "8867-4",
    "respiratory rate": "9279-1",
    "temperature": "8310-5 8331-1",
    "oxygen saturation": "59408-5 2708-6",
    "weight": "29463-7 3141-9 3142-7",
    "height": "8302-2",
    "body mass index": "39156-5",
    "potassium": "2823-3 6298-4",
    "sodium": "2951-2 2947-0",
    "calcium": "17861-6 49765-1",
    "magnesium": "19123-9 2601-3",
    "urea nitrogen": "3094-0 6299-2",
    "glucose": "2345-7 2339-0 1558-6",
    "HbA1c": "4548-4 17856-6 59261-8",
    "INR": "6301-6 34714-6",
    "haemoglobin": "718-7",
    "leukocytes": "6690-2",
    "neutrophils": "751-8",
    "platelets": "777-3",
    "ALT": "1742-6",
    "AST": "1920-8",
    "alkaline phosphatase": "6768-6",
    "bilirubin": "1975-2",
    "albumin": "1751-7",
    "C-reactive protein": "1988-5",
    "LDL cholesterol": "18262-6 13457-7 2089-1",
    "HDL cholesterol": "2085-9",
    "triglycerides": "2571-8",
    "total cholesterol": "2093-3",
    "TSH": "3016-3 11580-8",
    "urine albumin/creatinine": "9318-7 14959-1",
    "uric acid": "3084-1",
    "lactate": "2524-7",
    "troponin": "6598-7 10839-9 89579-7 67151-1",
    "NT-proBNP": "33762-6",
    "QTc": "8634-8 8636-3",
    "lithium level": "14334-7",
    "digoxin level": "10535-3",
    "PSA": "2857-1",
    "pain (0-10)": "72514-3",
    "smoking status": "72166-2",
}
LABELS: Mapping[str, str] = {code: label for label, codes in _LABELS.items() for code in codes.split()}
ORDER: Mapping[str, int] = {label: place for place, label in enumerate(_LABELS)}

_PREGNANT = frozenset({"77386006", "LA15173-0"})  # SNOMED CT, LOINC answers
_NOT_PREGNANT = frozenset({"60001007", "LA26683-5"})
_PREGNANCIES = frozenset(  # SNOMED CT: pregnant, normal, high-risk, multiple pregnancy …
    {
        "77386006",
        "72892002",
        "47200007",
        "16356006",
        "9899009",
        "65147003",
        "80997009",
        "45307008",
        "237238006",
    }
)
_PREGNANCY_ICD = re.compile(r"O09|Z33\.?1|Z34|Z3A", re.IGNORECASE)
LONGEST_PREGNANCY = dt.timedelta(days=300)
STILL_NOT_PREGNANT = dt.timedelta(days=42)
_NUMBER = re.compile(r"\s*([<>]=?)?\s*(\d+(?:\.\d+)?)\s*(.*)", re.DOTALL)
_UMOL_PER_MG_DL = 88.42  # creatinine, 113.12 g/mol


def finding(source: Source) -> Finding:
    """What an Observation says. Raises `Fault` (grave for renal function and pregnancy), `Unused`."""
    node, label = source.node, ""
    try:
        what = node.concept("code")
        label = next((LABELS[each.code] for each in what.codes if each.code in LABELS), "") if what else ""
        if not label:
            raise Unused("not an observation that a vignette tells")
        status = node.code("status")
        if status in ("entered-in-error", "cancelled"):
            raise Retracted(f"status {status}")
        when = node.when("effectiveDateTime", "effectivePeriod", "effectiveInstant", "issued")
        return _read(node, label, when or When(dt.date.min, ""))
    except Fault as fault:
        fault.grave = label in _GRAVE
        raise


def _read(node: Node, label: str, when: When) -> Finding:
    if label == "blood pressure":
        return Finding(label, _pressure(node), None, when)
    if label == DUE:
        due = node.when("valueDateTime", "valuePeriod")
        return Finding(label, due.written, float(due.day.toordinal()), when) if due else _nothing()
    answer = node.concept("valueCodeableConcept") if node.has("valueCodeableConcept") else None
    if label == PREGNANCY:
        pregnant = _answer(answer, node)
        return Finding(label, answer.label if answer else "", None, when, pregnant)
    if answer is not None:
        return Finding(label, answer.label, None, when)
    if node.has("valueString") or node.has("valueInteger"):
        return _written(node, label, when)
    quantity = node.child("valueQuantity")
    value = quantity.number("value") if quantity else None
    if quantity is None or value is None:
        raise Unused("no value")
    unit = quantity.text("code") or quantity.text("unit")
    if label in (EGFR, CREATININE):
        value = _renal(label, value, unit, quantity.at("unit"))
    return Finding(label, node.quantity("valueQuantity"), value, when)


def _nothing() -> Finding:
    raise Unused("no value")


def _answer(answer: Concept | None, node: Node) -> bool | None:
    if answer is None:
        if isinstance(node.value.get("valueBoolean"), bool):
            return node.flag("valueBoolean")
        raise Unused("no value")
    if answer.has(_PREGNANT):
        return True
    return False if answer.has(_NOT_PREGNANT) else None


def _written(node: Node, label: str, when: When) -> Finding:
    text = node.text("valueString") or node.text("valueInteger")
    match = _NUMBER.fullmatch(text)
    if not text:
        raise Unused("no value")
    value = float(match[2]) if match else None
    if value is not None and match is not None and label in (EGFR, CREATININE):
        value = _renal(label, value, match[3], node.at("valueString"))
    return Finding(label, text[:300], value, when)


def _pressure(node: Node) -> str:
    found: dict[str, str] = {}
    for component in node.children("component"):
        what = component.concept("code")
        quantity = component.child("valueQuantity")
        value = quantity.number("value") if quantity else None
        if what is not None and value is not None:
            found |= {each.code: f"{value:.0f}" for each in what.codes}
    if "8480-6" not in found or "8462-4" not in found:
        raise Unused("no value")
    return f"{found['8480-6']}/{found['8462-4']} mmHg"


def _renal(label: str, value: float, unit: str, path: str) -> float:
    """eGFR in mL/min/1.73 m² (a bare mL/min by these codes means that), creatinine in mg/dL."""
    given = unit.lower().replace(" ", "").replace("µ", "u").replace("μ", "u")
    if label == EGFR and (not given or given.startswith(("ml/min", "ml/m"))) and 0 <= value <= 250:
        return value
    if label == CREATININE and given.startswith(("umol/l", "mmol/l")):
        value = value / _UMOL_PER_MG_DL * (1000 if given.startswith("m") else 1)
    elif label == CREATININE and given not in ("", "mg/dl"):
        raise Fault(path, "is no unit of creatinine that is read: mg/dL or umol/L")
    if label == CREATININE and 0.05 <= value <= 40:
        return value
    if label == EGFR and given and not given.startswith("ml/m"):
        raise Fault(path, "is no unit of an eGFR: mL/min/{1.73_m2}")
    raise Fault(path, f"with its value cannot be an {label} of a living person: correct it")


def egfr_of(
    findings: Mapping[str, list[Finding]], birth: When | None, sex: str | None, on: dt.date
) -> tuple[float, str] | None:
    """(mL/min/1.73 m², how it is known) on a day: the newest reported, or computed from a newer creatinine.

    Of several on the same day the worst counts, the lowest eGFR and the highest creatinine: laboratories used
    to report one eGFR for each race, and kidneys that fail do so within a day.
    """
    reported = min(_last_day(findings.get(EGFR, ()), on), key=_value, default=None)
    creatinine = max(_last_day(findings.get(CREATININE, ()), on), key=_value, default=None)
    if creatinine is not None and birth is not None:
        computed = ckd_epi_2021(_value(creatinine), years(birth, creatinine.when.day), sex)
        newer = reported is None or reported.when.day < creatinine.when.day
        if computed is not None and newer:
            return computed, f"by CKD-EPI 2021 from creatinine of {creatinine.when.written}"
    if reported is None:
        return None
    return _value(reported), f"reported {reported.when.written}".strip()


def _last_day(found: Iterable[Finding], on: dt.date) -> list[Finding]:
    """The numbers of the last day that has any, up to `on`."""
    numbers = [each for each in found if each.value is not None and each.when.day <= on]
    last = max((each.when.day for each in numbers), default=None)
    return [each for each in numbers if each.when.day == last]


def _value(each: Finding) -> float:
    return each.value if each.value is not None else 0.0


def ckd_epi_2021(creatinine: float, age: float, sex: str | None) -> float | None:
    """eGFR in mL/min/1.73 m² from creatinine in mg/dL; None below 18 years or where the sex is not known.

    Inker LA et al., New creatinine- and cystatin C-based equations to estimate GFR without race,
    N Engl J Med 2021;385:1737-49, table 2: 142 × min(Scr/κ, 1)^α × max(Scr/κ, 1)^-1.200 × 0.9938^age
    (× 1.012 for women), κ 0.7 and α -0.241 for women, κ 0.9 and α -0.302 for men.
    """
    if age < 18 or sex not in ("female", "male"):
        return None
    kappa, alpha, factor = (0.7, -0.241, 1.012) if sex == "female" else (0.9, -0.302, 1.0)
    ratio = creatinine / kappa
    value: float = 142 * min(ratio, 1.0) ** alpha * max(ratio, 1.0) ** -1.2 * 0.9938**age * factor
    return min(round(value, 1), 250.0)


def years(birth: When, on: dt.date) -> float:
    """Age on a day: whole years from 2 on, below in hundredths. Partial dates count from their middle."""
    day = birth.day
    if len(birth.raw) == 4:
        day = day.replace(month=7)
    elif len(birth.raw) == 7:
        day = day.replace(day=15)
    whole = on.year - day.year - ((on.month, on.day) < (day.month, day.day))
    return float(whole) if whole >= 2 else round(max((on - day).days, 0) / 365.25, 2)


def is_pregnancy(condition: Condition) -> bool:
    """Whether a condition says by its code that the patient is pregnant."""
    return any(code in _PREGNANCIES or _PREGNANCY_ICD.match(code) for code in condition.codes)


def pregnant_on(
    findings: Mapping[str, list[Finding]], conditions: Iterable[Condition], on: dt.date
) -> bool | None:
    """Whether the patient is pregnant on a day; None is not known.

    The newest status counts: "pregnant" for 300 days, "not pregnant" for 42. An expected date of delivery
    to come, and a condition that is active and began in the last 300 days, say so too.
    """
    told = [each for each in findings.get(PREGNANCY, ()) if each.when.day <= on]
    newest = max(told, key=lambda each: each.when, default=None)
    if newest is not None and newest.pregnant is False and on - newest.when.day <= STILL_NOT_PREGNANT:
        return False
    since = dt.date.min if newest is None or newest.pregnant is not False else newest.when.day
    if newest is not None and newest.pregnant and on - newest.when.day <= LONGEST_PREGNANCY:
        return True
    for due in findings.get(DUE, ()):
        day = dt.date.fromordinal(int(due.value or 1))
        if since <= due.when.day <= on <= day and day - on <= LONGEST_PREGNANCY:
            return True
    for each in conditions:
        if is_pregnancy(each) and since <= (each.start.day if each.start else on):
            return True
    return None


def told(findings: Mapping[str, list[Finding]], on: dt.date, within: Iterable[str]) -> list[str]:
    """The newest of these kinds up to a day, in order: "potassium 4.1 mmol/L (2020-01-31)"."""
    lines = []
    for label in sorted(within, key=ORDER.__getitem__):
        known = [each for each in findings.get(label, ()) if each.when.day <= on and each.shown]
        if known:
            newest = max(known, key=lambda each: each.when)
            lines.append(f"{label} {newest.shown} ({newest.when.written or 'undated'})")
    return lines
