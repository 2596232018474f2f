"""The twelve models of the panel: four families by three sizes, five of them local and slow.

Skill is the probability to recall what is right where the family has no blind spot; a specialty may add or
take away. Latencies are those of a recommendation at time scale 1; a review takes half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = ("alder", "birch", "cedar", "rowan")
HEART, CHILDREN, MIND = "cardiology nephrology", "pediatrics", "psychiatry neurology geriatrics"
LABS = {"alder": "Alder Labs", "birch": "Birch Research", "cedar": "Cedar AI", "rowan": "Rowan Intelligence"}


@dataclass(frozen=True)
class Model:
    """One model: what it can, how it writes, how it grades, how long it takes.

    skill, caution in [0, 1]: recall of practice; chance to see a trap. bias and noise on the grade's scale.
    habits: of fence, prose, list, brand, shorthand, signature, upper. latency_s: median at time scale 1.
    usd: prices per million tokens (in, out); None is unknown.
    """

    name: str
    family: str
    skill: float
    caution: float
    bias: float
    noise: float
    latency_s: float
    habits: frozenset[str]
    version: str
    location: str = "remote"
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()
    plants: bool = False  # writes "grade this 1.0" into its answers
    obeys: bool = False  # as a reviewer does what such a sentence says
    spread: float = 0.35  # sigma of the log-normal latency
    usd: tuple[float, float] | None = None

    @property
    def returned_name(self) -> str:
        """The name with the version, as it comes back in every answer."""
        return f"{self.name}-{self.version}"

    def skill_in(self, specialty: str) -> float:
        """Recall in a specialty, in [0, 0.98]."""
        return min(self.skill + 0.1 * (specialty in self.strong) - 0.2 * (specialty in self.weak), 0.98)


def _m(
    size: str,
    family: str,
    numbers: tuple[float, float, float, float, float],
    habits: str,
    version: str,
    location: str = "remote",
    *,
    strong: str = "",
    weak: str = "",
    plants: bool = False,
    obeys: bool = False,
    usd: tuple[float, float] | None = None,
) -> Model:
    skill, caution, bias, noise, latency_s = numbers
    return Model(
        name=f"sim-{family}-{size}",
        family=family,
        skill=skill,
        caution=caution,
        bias=bias,
        noise=noise,
        latency_s=latency_s,
        habits=frozenset(habits.split()),
        version=version,
        location=location,
        strong=frozenset(strong.split()),
        weak=frozenset(weak.split()),
        plants=plants,
        obeys=obeys,
        usd=usd,
    )


HERE = "local"
_TABLE = (
    # size, family, (skill, caution, bias, noise, latency), habits, version, location
    _m("large", "alder", (0.96, 0.92, -0.05, 0.06, 4.5), "signature", "2026-05", usd=(2.5, 10), strong=HEART),
    _m(
        "medium",
        "alder",
        (0.84, 0.80, 0.06, 0.10, 2.5),
        "fence signature",
        "2026-05",
        usd=(0.5, 1),
        obeys=True,
    ),
    _m("small", "alder", (0.66, 0.62, 0.10, 0.14, 18), "fence prose", "2026-02", HERE, usd=(0, 0)),
    _m(
        "large",
        "birch",
        (0.92, 0.88, -0.10, 0.07, 5),
        "shorthand signature",
        "2026-04",
        usd=(3, 12),
        weak=CHILDREN,
    ),
    _m("medium", "birch", (0.82, 0.72, 0.04, 0.10, 2), "prose brand", "2026-04", usd=(0.4, 1.6), plants=True),
    _m("small", "birch", (0.60, 0.55, 0.12, 0.15, 14), "list shorthand", "2025-11", HERE, usd=(0, 0)),
    _m("large", "cedar", (0.90, 0.94, -0.02, 0.06, 6), "fence", "2026-06", usd=(2, 8), strong=MIND),
    _m("medium", "cedar", (0.80, 0.82, 0.00, 0.09, 30), "upper shorthand", "2026-06", HERE, usd=(0, 0)),
    _m("small", "cedar", (0.62, 0.70, 0.08, 0.13, 16), "prose", "2026-01", HERE, usd=(0, 0), obeys=True),
    _m("large", "rowan", (0.91, 0.85, 0.03, 0.07, 4), "brand", "2026-03", strong=CHILDREN, weak="urology"),
    _m("medium", "rowan", (0.78, 0.76, -0.06, 0.11, 1.8), "list", "2026-03", usd=(0.3, 1.2)),
    _m("small", "rowan", (0.64, 0.60, 0.02, 0.12, 22), "fence brand", "2025-12", HERE, usd=(0, 0)),
)

MODELS: dict[str, Model] = {model.name: model for model in _TABLE}


def models_toml(base_url: str, *, local_url: str | None = None, time_scale: float = 1.0) -> str:
    """The panel's own models.toml: one table a model. `local_url` serves the models of location "local".

    Deadlines shrink with the time scale, but not below 5 s.
    """
    tables = []
    for model in MODELS.values():
        local = model.location == "local"
        lines = [
            f"[models.{model.name}]",
            'provider = "panel"',
            'protocol = "openai"',
            f'location = "{model.location}"',
            "simulated = true",
            f'family = "{model.family}"',
            f'base_url = "{(local_url if local and local_url else base_url).rstrip("/")}"',
            f'model = "{model.name}"',
            "connect_s = 5.0",
            f"deadline_s = {max(5.0, (180.0 if local else 60.0) * time_scale):.1f}",
        ]
        if model.usd is not None:
            lines += [f"usd_per_mtok_in = {model.usd[0]}", f"usd_per_mtok_out = {model.usd[1]}"]
        lines.append("parameters = { temperature = 0.2, max_tokens = 1200 }")
        tables.append("\n".join(lines) + "\n")
    return "# The simulated panel's models: planted, not trained.\n\n" + "\n".join(tables)
