"""The first pass: every resource to its patient's chart, with an account of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from producers.readers.fhir import clinical, medications, notes, observations
from producers.readers.fhir.account import Account
from producers.readers.fhir.chart import Chart, Finding, Retracted, Source, Unused
from producers.readers.fhir.identity import Who, named, tolerant
from producers.readers.fhir.node import Fault, Node, instant
from producers.readers.fhir.references import mentioned, owner_of
from producers.readers.fhir.source import MAX_TEXT, Deleted, Located, Unreadable, dumped, key_of_resource
from producers.readers.record import Read
from shared.errors import RecordError

DRUGS = ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
GRAVE = ("Patient", "Condition", "AllergyIntolerance", *DRUGS)
OTHERS = ("Practitioner", "PractitionerRole", "Organization", "Location", "Person")
OF_PATIENT = (*GRAVE, "Encounter", "Observation", "DocumentReference", "Composition", "RelatedPerson")
_NOT_PATIENTS = ("Group", "Device", "Location", "Practitioner", "Organization", "Medication", "Substance")
_FINANCIAL = ("Claim", "ClaimResponse", "ExplanationOfBenefit", "Coverage")  # long, and name nobody else
_NOT_PART = "not part of a vignette"
_GOES_ON = "; the patient's record went on without it: mend it and send the patient again"


@dataclass
class Gather:
    """Charts by patient, and what several patients share, as far as the input was read."""

    account: Account
    today: dt.date
    newest_only: bool  # of observations: those of one kind are told once
    charts: dict[str, Chart] = field(default_factory=dict)
    medications: dict[str, str] = field(default_factory=dict)  # names by key
    others: dict[str, tuple[str, Who]] = field(default_factory=dict)  # key → (type, who)
    deleted: dict[str, dt.datetime | None] = field(default_factory=dict)  # when, by key

    def take(self, found: Located | Unreadable | Deleted) -> Read | None:
        """Take a resource into its chart; what is set aside by itself comes back."""
        if isinstance(found, Deleted):
            self.deleted[found.key] = _later(self.deleted.get(found.key), found.at)
            return None
        if isinstance(found, Unreadable):
            return self._unreadable(found)
        self.account.read[found.kind] += 1
        try:
            self._file(found)
        except Unused as unused:
            self.account.unused[found.kind, str(unused)] += 1
        except Fault as fault:
            return self._fault(found, fault)
        else:
            self.account.used[found.kind] += 1
        return None

    def _unreadable(self, found: Unreadable) -> Read | None:
        self.account.unreadable[found.error.code] += 1
        grave = not found.kind or found.kind in GRAVE
        if found.patient and grave:  # an order or an allergy may be lost: the record waits for the line
            chart = self.charts.setdefault(found.patient, Chart(found.file, found.error.line or 1))
            chart.faults.append((found.error, found.file))
        return Read(found.error.line or 1, None, found.error, found.text, found.file)

    def _fault(self, found: Located, fault: Fault) -> Read | None:
        error = RecordError(fault.code, fault.reason, path=fault.path, line=found.line)
        owner = self._owner_despite(found) if fault.grave and found.kind in (*GRAVE, "Observation") else ""
        if owner:
            chart = self._chart(owner, found)
            chart.faults.append((error, found.file))
            chart.faulty[found.kind, fault.code] += 1
            return None
        self.account.set_aside[found.kind, fault.code] += 1
        if found.kind not in GRAVE:
            error = RecordError(fault.code, f"{fault.reason}{_GOES_ON}", path=fault.path, line=found.line)
        return Read(found.line, None, error, dumped(found.value)[:MAX_TEXT], found.file)

    def _owner_despite(self, found: Located) -> str:
        """Whose a resource with a fault is: as it says, else the only patient of its Bundle."""
        node = Node(found.value, found.path)
        try:
            owner = self._identity(found) if found.kind == "Patient" else owner_of(node, found.aliases)
        except Fault:
            owner = ""
        if owner.startswith("Patient"):
            return owner
        return found.patients[0] if len(found.patients) == 1 else ""

    def _identity(self, found: Located) -> str:
        return key_of_resource(found) or found.nameless

    def _chart(self, owner: str, found: Located) -> Chart:
        chart = self.charts.get(owner)
        if chart is None:
            chart = self.charts[owner] = Chart(found.file, found.line)
        return chart

    def _file(self, found: Located) -> None:
        node = Node(found.value, found.path)
        key = key_of_resource(found)
        if found.kind == "Medication":
            if key:
                self.medications[key] = medications.medication_name(node)
            return
        if found.kind in OTHERS:
            self._other(found, key)
            return
        owner = self._identity(found) if found.kind == "Patient" else owner_of(node, found.aliases)
        if owner.partition("/")[0] in _NOT_PATIENTS:
            raise Unused("not about a patient")
        if not owner.startswith("Patient"):
            if found.kind in OF_PATIENT:
                raise Fault(
                    node.at("patient" if found.kind == "AllergyIntolerance" else "subject"),
                    "points to no patient: say whom it is about",
                    code="no_subject",
                )
            raise Unused(_NOT_PART)
        chart = self._chart(owner, found)
        chart.size += found.size
        for who, display, place in () if found.kind in _FINANCIAL else mentioned(found.value, found.aliases):
            if who and not who.startswith("Patient/"):
                chart.mentioned.add(who)
            named(display, place, chart.others)
        if found.kind not in OF_PATIENT:
            raise Unused(_NOT_PART)
        try:
            self._read(found, Source(node, found.aliases, found.draft), chart, key)
        except Retracted:
            if key:
                chart.retracted[key] = _later(chart.retracted.get(key), _updated(found))
            raise
        chart.used[found.kind] += 1

    def _other(self, found: Located, key: str) -> None:
        """People and places are kept until it is known whether anybody refers to them."""
        self.account.used[found.kind] -= 1  # decided at the end
        if not key or key in self.others:
            self.account.unused[found.kind, "the same again" if key else "nobody can refer to it"] += 1
            return
        node = Node(found.value, found.path)
        self.others[key] = (found.kind, tolerant(node))

    def _read(self, found: Located, source: Source, chart: Chart, key: str) -> None:
        kind, own = found.kind, key or f"{found.kind}/{found.line}/{found.path}"
        if kind == "Patient":
            if not key:
                raise Fault(source.node.at("id"), "is missing: the record needs an id", code="no_id")
            self._patient(found, source, chart, own)
        elif kind == "Condition":
            item = clinical.condition(source)
            chart.note_day(item.start, self.today)
            self._put(chart.conditions, own, item, found, chart)
        elif kind == "AllergyIntolerance":
            allergy = clinical.allergy(source)
            chart.note_day(allergy.start, self.today)
            self._put(chart.allergies, own, allergy, found, chart)
        elif kind in DRUGS:
            drug = medications.drug(source, kind, found.line, found.file)
            chart.note_day(drug.start, self.today)
            self._put(chart.drugs, own, drug, found, chart, lambda d: (d.name, d.medication, d.dose, d.state))
        elif kind == "Observation":
            finding = observations.finding(source)
            chart.note_day(finding.when, self.today)
            self._finding(replace(finding, key=key, updated=_updated(found)), chart)
        elif kind == "RelatedPerson":
            chart.others.add(tolerant(source.node))
        else:
            self._softly(found, source, chart, own)

    def _softly(self, found: Located, source: Source, chart: Chart, own: str) -> None:
        """What a record can go on without."""
        try:
            if found.kind == "Encounter":
                encounter = clinical.encounter(source, own.partition("/")[2])
                chart.note_day(encounter.start, self.today)
                chart.encounters[own] = encounter
            else:
                note = (notes.document if found.kind == "DocumentReference" else notes.composition)(source)
                chart.note_day(note.when, self.today)
                self._put(chart.notes, own, note, found, chart)
        except Fault as fault:
            fault.grave = False
            raise

    def _patient(self, found: Located, source: Source, chart: Chart, own: str) -> None:
        person = clinical.person(source, own.partition("/")[2])
        chart.file, chart.line = found.file, found.line
        held = {} if chart.person is None else {own: chart.person}
        self._put(held, own, person, found, chart)
        chart.person = held[own]

    def _put(
        self,
        held: dict[str, Any],
        key: str,
        item: Any,
        found: Located,
        chart: Chart,
        essence: Callable[[Any], object] = lambda item: item,
    ) -> None:
        """Keep a fact under its id. Of two versions the later counts; where none is, neither is trusted."""
        updated = _updated(found)
        if key in held:
            before = chart.versions.get(key)
            if essence(held[key]) == essence(item):
                raise Unused("the same again")
            if updated is None or before is None or updated == before:
                raise _twice(f"{found.path}.id")
            if updated < before:
                raise Unused("an older version")
            self._leave_out(found.kind, chart, "an older version")
        held[key] = item
        if updated is not None:
            chart.versions[key] = updated

    def settle(self, chart: Chart) -> None:
        """When all is read: leave out what a later version took back or corrected, and what was deleted.

        Raises `Fault` where neither version is the later.
        """
        for held in (chart.conditions, chart.allergies, chart.drugs, chart.notes):
            for key in held.keys() & (chart.retracted.keys() | self.deleted.keys()):
                if why := self._withdrawn(key, chart.versions.get(key), chart):
                    del held[key]
                    self._leave_out(key.partition("/")[0], chart, why)
        standing = {label: list(self._standing(found, chart)) for label, found in chart.findings.items()}
        chart.findings = {label: found for label, found in standing.items() if found}

    def _standing(self, found: list[Finding], chart: Chart) -> Iterator[Finding]:
        """Findings that hold still; of versions that are dated the latest."""
        latest: dict[str, dt.datetime] = {}
        for each in found:
            if each.key and each.updated is not None:
                latest[each.key] = max(latest.get(each.key, each.updated), each.updated)
        for each in found:
            why = self._withdrawn(each.key, each.updated, chart)
            if not why and each.updated is not None and each.updated < latest.get(each.key, each.updated):
                why = "an older version"
            if why:
                self._leave_out("Observation", chart, why)
            else:
                yield each

    def _withdrawn(self, key: str, updated: dt.datetime | None, chart: Chart) -> str:
        """Why what was held as of `updated` does not hold any more, "" if it does. Raises `Fault`."""
        if self.is_deleted(key, updated):
            return "deleted"
        if key not in chart.retracted:
            return ""
        at = chart.retracted[key]
        if at is None or updated is None or at == updated:
            raise _twice(f"{key.partition('/')[0]}.id")
        return "an older version" if at > updated else ""

    def is_deleted(self, key: str, updated: dt.datetime | None) -> bool:
        """Whether a resource, as of `updated`, was deleted since; what is not dated is."""
        if key not in self.deleted:
            return False
        at = self.deleted[key]
        return at is None or updated is None or at >= updated

    def is_gone(self, found: Located) -> bool:
        """Whether a resource was deleted since, some entry says."""
        return self.is_deleted(key_of_resource(found), _updated(found))

    def _leave_out(self, kind: str, chart: Chart, why: str) -> None:
        self.account.used[kind] -= 1
        chart.used[kind] -= 1
        self.account.unused[kind, why] += 1

    def _finding(self, finding: Finding, chart: Chart) -> None:
        if finding.when.day > self.today:
            raise Unused("dated in the future")
        held = chart.findings.setdefault(finding.label, [])
        if not self.newest_only or not held or held[0].when.day == finding.when.day:
            held.append(finding)
            return
        older = len(held) if held[0].when.day < finding.when.day else 0
        if not older:
            raise Unused("an older value")
        chart.findings[finding.label] = [finding]
        self.account.used["Observation"] -= older
        chart.used["Observation"] -= older
        self.account.unused["Observation", "an older value"] += older


def _updated(found: Located) -> dt.datetime | None:
    meta = found.value.get("meta")
    return instant(meta.get("lastUpdated")) if isinstance(meta, dict) else None


def _later(one: dt.datetime | None, other: dt.datetime | None) -> dt.datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)


def _twice(path: str) -> Fault:
    reason = "stands twice with different content: keep the right one, or give meta.lastUpdated"
    return Fault(path, reason, code="duplicate")
