"""From the majority list to the refined one in edits that a clinician can follow, and the words for each.

What is barred leaves first, whatever it costs; then always the edit that gains most, after those before it.
A removal that loses by itself is joined with the addition that needs it. Telescoping, so the gains sum up.

Why that never gets stuck: on a feasible list two removals, or two additions, gain together at most what they
gain one by one (they can only meet each other, or treat the same condition). So while what is pending is of
one sort and gains as a whole, one of it gains; a whole can be worth more than its parts only as an exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from shared.refinement.problem import Edit
from shared.refinement.search import TIE
from shared.refinement.utility import Utility
from shared.safety.finding import Finding

Worth = tuple[int, float]
"""Of a step: how much less bars the list, then what U gains."""
LOSS: Worth = (0, -TIE)
"""A step worth less than this loses."""
MEETS = {"allergy": "allergy to {}", "pregnancy": "in pregnancy", "age": "at {}"}
MOST = 3
"""So many findings are put in words, the gravest; the edit keeps all."""


def trace(u: Utility, start: int, end: int) -> tuple[Edit, ...]:
    """The edits from list `start` to list `end`, each drug touched once. Σ gains = U(end) − U(start)."""

    @cache
    def value(code: int) -> Worth:
        return -u.bars(code), u.terms(code).total

    found = []
    while start != end:
        steps = _steps(value, start, [bit for bit in u.support if bit & (start ^ end)])
        step = max(steps, key=lambda step: (steps[step], step))
        found.append(_edit(u, start, start ^ step))
        start ^= step
    return tuple(found)


def _steps(value: Callable[[int], Worth], code: int, pending: Sequence[int]) -> dict[int, Worth]:
    """What may come next, as codes of the drugs that change, and its worth."""

    def worth(step: int) -> Worth:
        (bars, total), (bars_now, now) = value(code ^ step), value(code)
        return bars - bars_now, total - now

    def exchange(removal: int) -> int:
        """The removal, grown by what is worth more with it than apart until the whole does not lose."""
        step = removal
        while worth(step) < LOSS:
            grown = [step | bit for bit in pending if not bit & step and together(step, bit)]
            if not grown:
                break
            step = max(grown, key=lambda step: (worth(step), step))
        return step

    def together(one: int, other: int) -> bool:
        whole, parts = worth(one | other), (worth(one), worth(other))
        return (whole[0] - sum(p[0] for p in parts), whole[1] - sum(p[1] for p in parts)) > (0, TIE)

    singles = {bit: worth(bit) for bit in pending}
    gaining = {bit: found for bit, found in singles.items() if found >= LOSS}
    exchanges = [exchange(bit) for bit in pending if bit & code and bit not in gaining]
    return {**gaining, **{step: worth(step) for step in exchanges}} or singles


def _edit(u: Utility, before: int, after: int) -> Edit:
    removed, added = u.drugs(before & ~after), u.drugs(after & ~before)
    treated = set(u.treating(before))
    return Edit(
        kind="exchanged" if removed and added else "removed" if removed else "added",
        removed=removed,
        added=added,
        gain=u.terms(after) - u.terms(before),
        because=_because(u, {*removed}, {*u.drugs(before | after)}),
        treats=tuple(c for c in u.treating(after) if c not in treated),
    )


def _because(u: Utility, removed: set[str], present: set[str]) -> tuple[Finding, ...]:
    """What was found of drugs that leave: what bars them, and what weighs in U with the others there."""
    taken = set(u.problem.current)
    weights = {"interaction": u.dials.severity, "duplicate": u.dials.severity + u.dials.same_class}
    found = []
    for f in u.problem.findings:
        if f.is_pair:
            ends = {f.drug, f.other}
            counts = ends <= present | taken and not ends <= taken and (f.bars or weights[f.kind] > 0)
            explains = counts and not removed.isdisjoint(ends)
        else:
            explains = f.bars and f.drug in removed
        if explains:
            found.append(f)
    return tuple(sorted(found, key=lambda f: (not f.bars, -f.severity.weight, f.drug, f.other, f.rule)))


def in_words(edit: Edit) -> str:
    """The edit as words: "ibuprofen removed: with warfarin, major bleeding (FDA label)"."""
    removed, added = " and ".join(edit.removed), " and ".join(edit.added)
    done = {
        "removed": f"{removed} removed",
        "added": f"{added} added",
        "exchanged": f"{added} added instead of {removed}",
    }[edit.kind]
    told = [f for f in edit.because if f.bars] or edit.because  # what bars needs no other reason
    reasons = [_reason(f, edit.removed) for f in told[:MOST]] or [_gained(edit)]
    if len(told) > MOST:
        reasons.append(f"and {len(told) - MOST} more")
    if edit.treats:
        reasons[-1] += f", treats {' and '.join(map(_plain, edit.treats))}"
    return f"{done}: {'; '.join(reasons)}"


def _reason(f: Finding, removed: tuple[str, ...]) -> str:
    """One finding: what meets the removed drug, what may happen, by which source."""
    drug, other = (f.other, f.drug) if f.is_pair and f.drug not in removed else (f.drug, f.other)
    meets = MEETS.get(f.kind, "with {}").format(_plain(other))
    subject = f"{drug} " if len(removed) > 1 else ""
    return f"{subject}{meets}, {f.effect}" + (f" ({f.source})" if f.source else "")


def _gained(edit: Edit) -> str:
    """Where no finding explains: the support P of one drug, else what each term gains."""
    if edit.kind != "exchanged" and len(edit.removed + edit.added) == 1:
        return f"support {0.5 + (edit.gain.support if edit.added else -edit.gain.support):.2f}"
    terms = [
        f"{name.replace('_', ' ')} {gain:+.2f}"
        for name, gain in vars(edit.gain).items()
        if abs(gain) >= 0.005
    ]
    return ", ".join(terms) or "equally good"


def _plain(code: str) -> str:
    return code.replace("_", " ")
