"""MedicationRequest, Statement, Dispense, Administration and Medication → drugs, with the dose in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from producers.readers.fhir.chart import Drug, Retracted, Source
from producers.readers.fhir.node import Concept, Fault, Node, When, shown

_STATES = {  # status → state, by resource type; R4's value sets, with STU3's and R5's codes
    "MedicationRequest": {
        "active": "current",
        "on-hold": "current",
        "unknown": "current",
        "completed": "completed",
        "ended": "stopped",
        "stopped": "stopped",
        "cancelled": "stopped",
        "draft": "proposed",
    },
    "MedicationStatement": {
        "active": "current",
        "recorded": "current",
        "intended": "current",
        "on-hold": "current",
        "unknown": "current",
        "completed": "completed",
        "stopped": "stopped",
    },
    "MedicationDispense": {
        "preparation": "completed",
        "in-progress": "completed",
        "on-hold": "completed",
        "completed": "completed",
        "unknown": "completed",
        "stopped": "stopped",
    },
    "MedicationAdministration": {
        "in-progress": "current",
        "on-hold": "current",
        "unknown": "completed",
        "completed": "completed",
        "stopped": "stopped",
    },
}
_NOT_GIVEN = frozenset({"entered-in-error", "cancelled", "declined", "not-taken", "not-done", "draft"})
_ORDERS = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order", "plan", ""})
_UNITS = {"s": "second", "min": "minute", "h": "hour", "d": "day", "wk": "week", "mo": "month", "a": "year"}
_DAYS = {"s": 0, "min": 0, "h": 1 / 24, "d": 1, "wk": 7, "mo": 30, "a": 365, "day": 1, "days": 1}
_WHEN = {
    "HS": "at bedtime", "MORN": "in the morning", "NOON": "at noon", "AFT": "in the afternoon",
    "EVE": "in the evening", "NIGHT": "at night", "WAKE": "on waking",
    "AC": "before meals", "ACM": "before breakfast", "ACD": "before lunch", "ACV": "before dinner",
    "PC": "after meals", "PCM": "after breakfast", "PCD": "after lunch", "PCV": "after dinner",
    "C": "with meals", "CM": "with breakfast", "CD": "with lunch", "CV": "with dinner",
}  # fmt: skip
_AMOUNTS = ("doseQuantity", "dose", "doseRange", "rateQuantity", "rateRange")
_OFTEN = {"day": "once a day", "week": "once a week", "month": "once a month"}
_MARKS = {"on-hold": "on hold", "unknown": "status unknown to the source"}


def drug(source: Source, kind: str, line: int, file: str) -> Drug:
    """A medicine that is, was or may be taken. Raises `Fault` (grave unless it is over), `Retracted`."""
    node = source.node
    state, mark = _state(source, kind)
    try:
        name, key, path = medicine(source)
        start, end = _period(node, kind)
        dose = "; ".join(each for node_ in node.children(_dosages(node)) if (each := dose_words(node_)))
        return Drug(
            kind,
            name,
            key,
            path,
            ", ".join(each for each in (dose, mark) if each),
            state,
            start,
            end,
            source.refers("encounter", "Encounter") or source.refers("context", "Encounter"),
            line,
            file,
        )
    except Fault as fault:
        fault.grave = state in ("current", "avoid") or (state == "completed" and kind == "MedicationDispense")
        raise


def medication_name(node: Node) -> str:
    """What a Medication is called: its code's words, else its ingredients with strengths. Raises `Fault`."""
    what = node.concept("code")
    if what is not None and what.words:
        return what.words
    parts = []
    for each in node.children("ingredient"):
        item = each.concept("itemCodeableConcept") or each.concept("item")
        if item is not None and item.words:
            strength = each.child("strength")
            amount = strength.quantity("numerator") if strength else ""
            parts.append(f"{item.words} {amount}".strip())
    if not parts:
        raise Fault(node.at("code"), "names no medicine: give its text or display, so that it can be checked")
    return " / ".join(parts)


def _state(source: Source, kind: str) -> tuple[str, str]:
    node = source.node
    status = node.code("status")
    if kind == "MedicationStatement" and node.text("taken") in ("n", "na"):
        raise Retracted("not taken")
    if source.draft:
        return "proposed", ""
    if kind == "MedicationRequest" and status == "draft":
        return "proposed", ""
    if status in _NOT_GIVEN or (kind == "MedicationAdministration" and node.flag("notGiven")):
        raise Retracted(f"status {status}" if status in _NOT_GIVEN else "not given")
    if not status:
        raise Fault(node.at("status"), "is missing: whether it is taken cannot be told; add it")
    if status not in _STATES[kind]:
        raise Fault(node.at("status"), f"is no status of a {kind}: correct it")
    state = _STATES[kind][status]
    if kind == "MedicationRequest":
        if node.flag("doNotPerform"):
            if state != "current":
                raise Retracted("an order not to give that is over")
            return "avoid", ""
        intent = node.code("intent")
        if intent in ("proposal", "option"):
            if state != "current":
                raise Retracted(f"intent {intent}")
            return "proposed", ""
        if intent not in _ORDERS:
            raise Fault(node.at("intent"), "is no intent of a MedicationRequest: order, plan, …; correct it")
    return state, _MARKS.get(status, "")


def medicine(source: Source) -> tuple[str, str, str]:
    """(name, key, path): a name, or the key of the Medication to look up, with the display as a stand-in.

    Raises `Fault`.
    """
    node = source.node
    for element in ("medicationCodeableConcept", "medicationCodeableReference", "medication"):
        inner = node.child(element) if node.has(element) else None
        if inner is None:
            continue
        if inner.has("reference") and isinstance(inner.value["reference"], str):
            return _referred(source, inner)
        if inner.has("reference"):  # R5: medication.reference is a Reference
            return _referred(source, inner.child("reference") or inner)
        what = inner.concept("concept") if inner.has("concept") else inner.as_concept()
        return _named(what, node.at(element)), "", node.at(element)
    reference = node.child("medicationReference")
    if reference is None:
        raise Fault(node.at("medicationCodeableConcept"), "is missing: say which medicine it is")
    return _referred(source, reference)


def _named(what: Concept | None, path: str) -> str:
    if what is None or not what.words:
        raise Fault(path, "names no medicine: give its text or display, so that it can be checked")
    return what.words


def _referred(source: Source, reference: Node) -> tuple[str, str, str]:
    written, display = reference.text("reference"), reference.text("display")
    if written.startswith("#"):
        for contained in source.node.children("contained"):
            if contained.text("id") == written[1:]:
                return medication_name(contained), "", reference.path
    elif written:
        return display, source.resolve(written, "Medication"), reference.path
    if not display:
        raise Fault(reference.path, "points to nothing: send the Medication along, or give the display")
    return display, "", reference.path


def _period(node: Node, kind: str) -> tuple[When | None, dt.date | None]:
    """(start, last day that the source gives)."""
    if kind == "MedicationRequest":
        start = node.when("authoredOn", "dateWritten")
        supply = node.child("dispenseRequest")
        bounds = supply.child("validityPeriod") if supply else None
        end = bounds.when("end") if bounds else None
        return start, end.day if end else _after(start, supply, "expectedSupplyDuration")
    if kind == "MedicationDispense":
        start = node.when("whenHandedOver", "whenPrepared")
        return start, _after(start, node, "daysSupply")
    element = next((e for e in ("effectivePeriod", "effectiveDateTime") if node.has(e)), "")
    period = node.child(element) if element.endswith("Period") else None
    end = period.when("end") if period else None
    return node.when(
        "effectivePeriod", "effectiveDateTime", "effective", "dateAsserted"
    ), end.day if end else None


def _after(start: When | None, node: Node | None, name: str) -> dt.date | None:
    duration = node.child(name) if node else None
    value = duration.number("value") if duration else None
    if start is None or duration is None or value is None:
        return None
    days = value * _DAYS.get((duration.text("code") or duration.text("unit")).lower(), 0)
    last = start.day.toordinal() + int(days)
    return dt.date.fromordinal(last) if 0 < days < 3650 and last <= dt.date.max.toordinal() else None


def _dosages(node: Node) -> str:
    return "dosageInstruction" if node.has("dosageInstruction") else "dosage"


def dose_words(node: Node) -> str:
    """A Dosage in words: its text where it has one, else amount, route, timing. Raises `Fault`."""
    if text := node.text("text"):
        return text
    parts = []
    for rate in node.children("doseAndRate") or [node]:
        amounts = (
            _amount(rate, each) for each in ("doseQuantity", "dose", "doseRange", "rateQuantity", "rateRange")
        )
        parts += [amount for amount in amounts if amount]
        ratio = rate.child("rateRatio")
        if ratio is not None and ratio.has("numerator"):
            parts.append(f"{ratio.quantity('numerator')} per {ratio.quantity('denominator')}")
    if (route := node.concept("route")) is not None:
        parts.append(route.label.lower())
    timing = node.child("timing")
    parts += _timing(timing) if timing is not None else []
    needed = node.concept("asNeededCodeableConcept") or next(iter(node.concepts("asNeededFor")), None)
    if needed is not None:
        parts.append(f"as needed for {needed.label.lower()}")
    elif node.flag("asNeededBoolean") or node.flag("asNeeded"):
        parts.append("as needed")
    parts += [each.label for each in node.concepts("additionalInstruction")]
    return " ".join(each for each in (", ".join(parts), node.text("patientInstruction")) if each)


def _amount(node: Node, name: str) -> str:
    if name.endswith("Range"):
        found = node.child(name)
        low, high = (found.quantity("low"), found.quantity("high")) if found else ("", "")
        return f"{low} to {high}" if low and high else low or high
    amount = node.quantity(name)
    return f"dose {amount}" if amount.replace(".", "").isdigit() else amount


def _timing(timing: Node) -> Iterator[str]:
    code = timing.concept("code")
    repeat = timing.child("repeat")
    if repeat is not None:
        yield from _repeat(repeat)
    if code is not None and (repeat is None or not repeat.has("frequency")):
        yield code.label


def _repeat(repeat: Node) -> Iterator[str]:
    times, most = repeat.number("frequency"), repeat.number("frequencyMax")
    period, unit = repeat.number("period"), repeat.text("periodUnit") or repeat.text("periodUnits")
    if period is not None and unit:
        word = _UNITS.get(unit, unit)
        span = word if period == 1 else f"{shown(period)} {word}s"
        count = shown(times if times is not None else 1)
        often = f"{count} to {shown(most)}" if most is not None else count
        if often == "1":
            yield {"day": "once a day", "week": "once a week", "month": "once a month"}.get(
                span, f"every {span}"
            )
        else:
            yield f"{often} times {'a' if period == 1 else 'every'} {span}"
    for moment in repeat.texts("when"):
        yield _WHEN.get(moment, moment)
    days, clock = repeat.texts("dayOfWeek"), repeat.texts("timeOfDay")
    if days:
        yield f"on {', '.join(days)}"
    if clock:
        yield f"at {', '.join(each[:5] for each in clock)}"
    if duration := repeat.quantity("boundsDuration"):
        yield f"for {duration}"
