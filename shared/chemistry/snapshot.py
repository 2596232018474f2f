"""What is learned from history at one time: the content of a chemistry snapshot, and its JSON.

One `Learned` for each kind of task, and one for each parent (`medication`), which kinds lean on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shared.chemistry.aggregates import parent

Basis = Literal["outcomes", "quality"]
"""What models are ranked by: P(right) where enough outcomes exist, else quality / 10; never mixed."""


@dataclass(frozen=True)
class ModelLearned:
    """One model in one kind of task. `value` is on the basis' scale, in [0, 1], shrunk toward the parent."""

    family: str
    runs: float
    outcomes: float
    value: float
    value_se: float
    quality: float | None  # shrunk mean, 0…10
    accuracy: float | None  # shrunk mean of the mixture, [0, 1]
    latency_s: float | None  # mean of its generations
    failure_rate: float  # shrunk share of its seats that it lost, [0, 1]


@dataclass(frozen=True)
class PairLearned:
    """Two models in one kind of task.

    chemistry: size of the cost-based number in [0, 1], None where no context counts; sign: -1 synergy,
    +1 antagonism, at `context`. effect: the empirical number, what selection uses, on the scale of value:
    above 0 they are wrong together less often than their own rates say; shrunk, 0 where history cannot tell.
    """

    together: float
    chemistry: float | None
    sign: int
    context: tuple[str, ...]
    effect: float
    effect_se: float


@dataclass(frozen=True)
class Learned:
    """One kind of task, or a parent. Keys of pairs are (a, b) with a < b by name."""

    basis: Basis
    consultations: float
    models: Mapping[str, ModelLearned] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], PairLearned] = field(default_factory=dict)
    strength: Mapping[str, float] = field(default_factory=dict)  # what the data said of the pair term
    families: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """Pooled effect and standard error of a pair of families (f ≤ g): for pairs that were never seen."""

    def effect(self, a: str, b: str, family_a: str, family_b: str) -> tuple[float, float]:
        """Effect and standard error of any two models; a pair never seen has its families', else 0."""
        found = self.pairs.get((min(a, b), max(a, b)))
        if found is not None:
            return found.effect, found.effect_se
        return self.families.get((min(family_a, family_b), max(family_a, family_b)), (0.0, 0.0))


@dataclass(frozen=True)
class Chemistry:
    """A snapshot's content; the empty one knows nothing."""

    kinds: Mapping[str, Learned] = field(default_factory=dict)
    parents: Mapping[str, Learned] = field(default_factory=dict)

    def of(self, kind: str) -> Learned | None:
        """What holds for a kind of task: its own, else its parent's; None if nothing is known."""
        return self.kinds.get(kind) or self.parents.get(parent(kind))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; floats survive bit for bit."""
        return {
            "kinds": {kind: _to_json(one) for kind, one in sorted(self.kinds.items())},
            "parents": {name: _to_json(one) for name, one in sorted(self.parents.items())},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Chemistry:
        """The inverse of `to_json`; {} is the empty one."""
        return cls(
            {kind: _from_json(one) for kind, one in body.get("kinds", {}).items()},
            {name: _from_json(one) for name, one in body.get("parents", {}).items()},
        )


def _to_json(one: Learned) -> dict[str, Any]:
    return {
        "basis": one.basis,
        "consultations": one.consultations,
        "models": {name: asdict(model) for name, model in sorted(one.models.items())},
        "pairs": [{"a": a, "b": b, **asdict(pair)} for (a, b), pair in sorted(one.pairs.items())],
        "strength": dict(one.strength),
        "families": [[f, g, *numbers] for (f, g), numbers in sorted(one.families.items())],
    }


def _from_json(body: Mapping[str, Any]) -> Learned:
    return Learned(
        basis=body["basis"],
        consultations=body["consultations"],
        models={name: ModelLearned(**model) for name, model in body["models"].items()},
        pairs={
            (pair["a"], pair["b"]): PairLearned(
                together=pair["together"],
                chemistry=pair["chemistry"],
                sign=pair["sign"],
                context=tuple(pair["context"]),
                effect=pair["effect"],
                effect_se=pair["effect_se"],
            )
            for pair in body["pairs"]
        },
        strength=body["strength"],
        families={(f, g): (effect, se) for f, g, effect, se in body["families"]},
    )
