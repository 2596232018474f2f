"""FHIR R4 → vignettes: Bundles, single resources, NDJSON of a bulk export, CDS Hooks requests.

Two passes. The first takes each resource to its patient's chart, over all files, and keeps small facts. Then
comes a vignette for each patient or encounter. What is set aside is read a second time, so that its
resources can be handed back as they were sent. What is read from which element: docs/fhir.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from producers.readers.fhir.account import Account
from producers.readers.fhir.again import Waiting, texts
from producers.readers.fhir.chart import Chart
from producers.readers.fhir.gather import Gather
from producers.readers.fhir.identity import Who
from producers.readers.fhir.node import Fault
from producers.readers.fhir.source import MAX_DOCUMENT, Inputs, looks_like_fhir, resources
from producers.readers.fhir.vignette import Moment, compose
from producers.readers.record import Read
from shared.errors import RecordError
from shared.schemas import Vignette

__all__ = ["MAX_DOCUMENT", "Account", "looks_like_fhir", "read_fhir"]

Per = Literal["patient", "encounter"]


def read_fhir(
    inputs: Inputs,
    *,
    per: Per = "patient",
    account: Account | None = None,
    again: Callable[[], Inputs] | None = None,
    today: dt.date | None = None,
) -> Iterator[Read]:
    """The records of FHIR inputs, which are one: a resource's patient may stand in another file.

    `inputs` are names and binary streams, uncompressed. `account` is complete when the iterator has ended.
    `again` opens the inputs anew, for what is set aside is read a second time; without it streams are taken
    back to their beginning, and where they cannot be, what is set aside comes without its text. `today`
    bounds which dates are believed (default: the clock's).

    Order: what stands for itself and cannot be read, as it comes; each patient's records, in the order in
    which patients appear; records that are set aside, with their resources as `text`, on one line: a Bundle,
    which NDJSON files may hold. Never raises for what an input holds; errors of the streams pass through.
    """
    gather = Gather(account or Account(), today or dt.date.today(), newest_only=per == "patient")
    # what was sent, not what is composed of it: that tells the day on which it is read
    sent = hashlib.sha256(per.encode())
    for found in resources(inputs, sent.update):
        if (read := gather.take(found)) is not None:
            yield read
    _count_others(gather)
    reading = sent.hexdigest()
    waiting: dict[str, Waiting] = {}
    for owner in list(gather.charts):
        chart = gather.charts.pop(owner)
        if chart.person is None and not chart.faults and not chart.used.total():
            continue  # others' resources name him; the account has them
        try:
            vignettes = _vignettes(chart, gather, per)
        except Fault as fault:
            _set_aside(chart, gather, fault)
            error, file = chart.faults[0]
            waiting[owner] = Waiting(error, file, chart.size, frozenset(chart.mentioned))
        else:
            for vignette in vignettes:
                yield Read(chart.line, vignette, file=chart.file, reading=reading)
    for read in texts(again or _rewinding(inputs), waiting, gather.is_gone):
        yield replace(read, reading=reading)


def _rewinding(inputs: Inputs) -> Callable[[], Inputs] | None:
    if not all(stream.seekable() for _name, stream in inputs):
        return None

    def rewound() -> Inputs:
        for _name, stream in inputs:
            stream.seek(0)
        return inputs

    return rewound


def _vignettes(chart: Chart, gather: Gather, per: Per) -> list[Vignette]:
    """All vignettes of a patient, or none: raises `Fault`."""
    person = chart.person
    if chart.faults:
        error = chart.faults[0][0]
        raise Fault(error.path, error.reason, code=error.code)
    gather.settle(chart)
    if person is None:
        raise Fault(
            "Patient",
            "is not in the input, so age, sex and the names to mask are not known: send the Patient along",
            code="no_patient",
        )
    who = Who()
    who.add(person.who)
    who.add(chart.others)
    for key in sorted(chart.mentioned & gather.others.keys()):
        who.add(gather.others[key][1])
    moments = _encounters(chart) if per == "encounter" else [_latest(chart, gather.today)]
    return [compose(chart, moment, gather.medications, who) for moment in moments]


def _latest(chart: Chart, today: dt.date) -> Moment:
    person = chart.person
    if person is not None and person.died is not None:
        raise Fault(
            "Patient.deceased",
            "the patient has died: there is nothing to recommend; to look back, read a record per encounter",
            code="deceased",
        )
    facts = (chart.conditions, chart.allergies, chart.drugs, chart.encounters, chart.findings, chart.notes)
    if not any(facts):
        raise Fault(
            "Patient",
            "stands alone: no condition, allergy, medication, encounter, value or note; send those along",
            code="nothing_known",
        )
    if chart.latest is None:
        return Moment(today, "the day on which it was read, for the record holds no date")
    return Moment(chart.latest, "the latest day in the record")


def _encounters(chart: Chart) -> list[Moment]:
    """The encounters that get a vignette: with an order, a diagnosis or a reason, begun before any death."""
    linked = {each.encounter for each in chart.drugs.values()}
    linked |= {each.encounter for each in chart.conditions.values()}
    died = chart.person.died if chart.person else None
    moments = [
        Moment(each.start.day, "the day of the encounter", key, each)
        for key, each in chart.encounters.items()
        if each.start is not None
        and (each.diagnosed or key in linked)
        and (died is None or died == dt.date.min or each.start.day <= died)
    ]
    if not moments:
        raise Fault(
            "Encounter",
            "none with a date and an order, diagnosis or reason: send the Encounter resources along, or read "
            "a record for each patient",
            code="no_encounter",
        )
    return sorted(moments, key=lambda each: (each.on, each.key))


def _set_aside(chart: Chart, gather: Gather, fault: Fault) -> None:
    """Book what the chart holds as set aside, and see that it holds the reason."""
    if not chart.faults:
        line = next((d.line for d in chart.drugs.values() if d.path == fault.path), chart.line)
        file = next((d.file for d in chart.drugs.values() if d.path == fault.path), chart.file)
        chart.faults.append((RecordError(fault.code, fault.reason, path=fault.path, line=line), file))
    elif len(chart.faults) > 1:
        error, file = chart.faults[0]
        more = f"{error.reason} (and {len(chart.faults) - 1} more in this record)"
        chart.faults[0] = (RecordError(error.code, more, path=error.path, line=error.line), file)
    account, code = gather.account, chart.faults[0][0].code
    for kind, n in chart.used.items():
        account.used[kind] -= n
        account.set_aside[kind, code] += n
    for (kind, own), n in chart.faulty.items():
        account.set_aside[kind, own] += n


def _count_others(gather: Gather) -> None:
    wanted = set().union(*(chart.mentioned for chart in gather.charts.values()))
    for key, (kind, _who) in gather.others.items():
        if key in wanted:
            gather.account.used[kind] += 1
        else:
            gather.account.unused[kind, "nobody refers to it"] += 1
