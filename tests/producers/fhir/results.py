"""Results as a test wants them: a row, and what stands in its sealed documents."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from producers.fhir import Told
from producers.fhir.told import Answer
from shared.safety.patient import patient_of
from shared.safety.rules import builtin
from shared.safety.screen import check
from shared.schemas import Recommendation, Vignette

KEY = b"unknown drugs"
CONSULTATION = "01890a5d-ac96-774b-bcce-b302099a8057"
RECORD = "01890a5d-ac96-774b-bcce-b302099a8058"
PERSON = Vignette(
    id="case-1",
    vignette="A woman of seventy has had a painful knee for a week.",
    context={"age": 70, "medications": ["warfarin 5 mg"]},
)


def row(**changes: Any) -> dict[str, Any]:
    """A concluded record's row."""
    return {
        "line": 1,
        "id": "case-1",
        "state": "completed",
        "reason": None,
        "error_code": None,
        "error_path": None,
        "kind": "medication/general",
        "recommendation": [],
        "stop": [],
        "findings": [],
        "grade": 0.9,
        "simulated": False,
        "consultation": CONSULTATION,
        "record": RECORD,
        **changes,
    }


def refused(**changes: Any) -> dict[str, Any]:
    """The row of a record that was set aside."""
    none = dict.fromkeys(row())
    return {
        **none,
        "line": 3,
        "record": RECORD,
        "state": "set_aside",
        "reason": "is missing: send it",
        **changes,
    }


def order(name: str, action: str = "start", **given: str) -> dict[str, str]:
    """One drug of an answer."""
    return {"name": name, "action": action, **given}


def told(*answers: list[dict[str, str]], vignette: Vignette = PERSON) -> Told:
    """Answers of as many models, the best first."""
    return Told(
        vignette,
        [
            Answer.of(
                Recommendation.model_validate(
                    {"decision": "recommend" if orders else "no_medication", "medications": orders}
                ),
                KEY,
                model=f"model-{place}",
                version=f"v{place}",
                grade=0.9 - place / 10,
            )
            for place, orders in enumerate(answers)
        ],
        dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC),
        "memory",
    )


def findings(vignette: Vignette, *drugs: str) -> list[dict[str, Any]]:
    """What the built-in rules find with this list, as it is stored."""
    found = check(drugs, patient_of(vignette, KEY), builtin())
    taken = {*drugs, *patient_of(vignette, KEY).current}
    return [asdict(f) for f in found if f.drug in taken and (not f.is_pair or f.other in taken)]
