"""The 20 example vignettes: valid, varied, with traps, and with gold whose names mean what they say."""

from __future__ import annotations

import json

from shared.medications.table import ingredients, is_unknown
from tests.panel.world import ROOT, vignettes

SPECIALTIES = 8
TRAPS = {
    "demo-02": "allergy",
    "demo-03": "pregnancy",
    "demo-06": "renal dose",
    "demo-08": "disease that forbids the first choice",
    "demo-09": "interaction",
    "demo-10": "interaction",
    "demo-11": "renal dose",
    "demo-14": "no drug needed",
    "demo-17": "interaction",
    "demo-18": "no drug needed",
}


def test_twenty_valid_vignettes_with_their_own_ids():
    """Twenty records, ids demo-01 to demo-20, one line each."""
    lines = (ROOT / "examples" / "vignettes.ndjson").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"demo-{n:02d}" for n in range(1, 21)]
    assert len(vignettes()) == 20


def test_texts_are_brief_and_specialties_many():
    """60 to 150 words each, over at least eight specialties."""
    assert all(60 <= len(v.vignette.split()) <= 150 for v in vignettes())
    assert len({v.kind for v in vignettes()}) >= SPECIALTIES


def test_traps_stand_in_the_context_and_are_not_marked():
    """Each trap shows in the structured context and the gold; the text does not point at it."""
    by_id = {v.id: v for v in vignettes()}
    assert len(TRAPS) >= 6
    for name, trap in TRAPS.items():
        vignette = by_id[name]
        context, gold = vignette.context, vignette.gold
        assert gold is not None
        assert gold.never
        assert {
            "allergy": any("penicillin" in a for a in context.allergies),
            "pregnancy": context.pregnant is True,
            "renal dose": (context.egfr or 999) < 60,
            "interaction": bool(context.medications),
            "no drug needed": not gold.required,
        }.get(trap, bool(context.conditions))
        assert not {"trap", "contraindicated", "caution", "avoid"} & set(vignette.vignette.lower().split())


def test_gold_is_consistent():
    """Nothing is both wanted and forbidden, what is taken is not required, names are ingredient codes."""
    for vignette in vignettes():
        gold = vignette.gold
        assert gold is not None
        options = [name for item in gold.required for name in item.any_of]
        names = [*options, *gold.acceptable, *gold.never]
        assert not (set(options) | set(gold.acceptable)) & set(gold.never)
        assert not [
            name for name in names if ingredients(name) != (name,) and not is_unknown(ingredients(name)[0])
        ]
        assert not [name for name in options if is_unknown(ingredients(name)[0])]
        taken = {code for m in vignette.context.medications for code in ingredients(m.name)}
        assert not taken & set(options)
