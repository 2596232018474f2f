"""What is evaluated: arms and their names, the digest by which an evaluation goes on, material, seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from producers.evaluation.measure import nearest_jaccard, top_hit
from producers.evaluation.spec import SINGLE, Material, Spec, generated, material, submission_seed
from shared.errors import SettingsError
from shared.schemas import Gold, GoldItem

EXAMPLES = Path(__file__).parents[2] / "examples" / "vignettes.ndjson"
MODELS = ("sim-alder-large", "sim-birch-small")
GOLD = Gold(
    required=[GoldItem(any_of=["a", "b"]), GoldItem(any_of=["c"])], acceptable=["x"], never=["poison"]
)


def spec(**changes: object) -> Spec:
    """The default evaluation of the examples, with changes."""
    return replace(Spec(vignettes=material(EXAMPLES)), **changes)  # type: ignore[arg-type]


def digest(asked: Spec) -> str:
    """Its digest, with the models at hand."""
    return asked.digest(asked.arms(MODELS))


def test_arms_have_telling_names() -> None:
    """Strategies by sizes by families; every single model is FIXED of one."""
    asked = spec(strategies=("RANDOM", SINGLE), sizes=(2, 3), families=("any", "same"))
    arms = asked.arms(MODELS)
    assert [arm.name for arm in arms] == [
        "RANDOM n=2",
        "RANDOM n=2 same family",
        "RANDOM n=3",
        "RANDOM n=3 same family",
        "single sim-alder-large",
        "single sim-birch-small",
    ]
    assert (arms[-1].strategy, arms[-1].n, arms[-1].models) == ("FIXED", 1, ("sim-birch-small",))


def test_default_is_five_strategies_three_times() -> None:
    """20 vignettes × 5 strategies × 3 repeats."""
    asked = spec()
    assert len(asked.arms(MODELS)) == 5
    assert asked.repeats == 3
    assert len(asked.vignettes.records()) == 20


@pytest.mark.parametrize(
    "changes",
    [
        {"strategies": ("RANDOM",)},
        {"sizes": (4,)},
        {"families": ("same",)},
        {"repeats": 2},
        {"seed": 2},
        {"source": "ward"},
        {"train": Material("t", EXAMPLES.read_bytes())},
        {"vignettes": Material("v", EXAMPLES.read_bytes().splitlines()[0])},
    ],
)
def test_digest_depends_on_all_that_is_asked(changes: dict[str, object]) -> None:
    """The same goes on; another one is another evaluation. A file's name is not part of it."""
    assert digest(spec()) == digest(spec(vignettes=Material("elsewhere", EXAMPLES.read_bytes())))
    assert digest(spec(**changes)) != digest(spec())


def test_digest_depends_on_the_models_that_sit_alone() -> None:
    """A model more is an arm more."""
    asked = spec(strategies=(SINGLE,))
    assert asked.digest(asked.arms(MODELS)) != asked.digest(asked.arms(MODELS[:1]))


def test_what_is_stored_of_it_names_no_file() -> None:
    """File names are clinical: the stored spec holds digests, names of arms and numbers."""
    asked = spec(vignettes=Material("Jane Roe.ndjson", EXAMPLES.read_bytes()))
    assert "Jane" not in json.dumps(asked.to_json(asked.arms(MODELS)))


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"strategies": ("CLEVER",)}, "--strategies"),
        ({"strategies": ("RANDOM", "RANDOM")}, "--strategies"),
        ({"strategies": ()}, "--strategies"),
        ({"families": ("big",)}, "--families"),
        ({"sizes": (1,)}, "--sizes"),
        ({"sizes": (3, 2, 3)}, "--sizes names one twice"),
        ({"repeats": 0}, "--repeats"),
    ],
)
def test_wrong_settings_name_the_option(changes: dict[str, object], option: str) -> None:
    """One sentence that says which option and what it takes."""
    with pytest.raises(SettingsError, match=option):
        spec(**changes).arms(MODELS)


def test_material_must_be_right_and_have_gold(tmp_path: Path) -> None:
    """The line is told before anything is submitted; nothing of the text is."""
    with pytest.raises(SettingsError, match="line 2"):
        Material("f", EXAMPLES.read_bytes().splitlines()[0] + b"\n{").records()
    with pytest.raises(SettingsError, match="line 1: no gold") as error:
        Material("f", b'{"id": "secret", "vignette": "a text that is long enough"}').records()
    assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match="no vignettes"):
        Material("f", b"\n").records()
    with pytest.raises(SettingsError, match="cannot be read"):
        material(tmp_path / "none")


def test_generated_material_is_simulated_and_the_same_again() -> None:
    """It says what it is, and is made anew byte by byte."""
    made = generated(5, 3)
    assert "simulated" in made.name
    assert made.digest == generated(5, 3).digest != generated(5, 4).digest
    assert len(made.records()) == 5


def test_repeats_have_seeds_of_their_own() -> None:
    """The repeat's number enters the seed; it fits the column."""
    seeds = {submission_seed(seed, repeat) for seed in (1, 2) for repeat in range(5)}
    assert len(seeds) == 10
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_jaccard_takes_the_best_matching_alternative() -> None:
    """Acceptable drugs count neither way; what is missing or too much does."""
    assert nearest_jaccard(["b", "c", "x"], GOLD) == 1.0
    assert nearest_jaccard(["b"], GOLD) == 0.5
    assert nearest_jaccard(["a", "c", "poison"], GOLD) == pytest.approx(2 / 3)
    assert nearest_jaccard([], GOLD) == 0.0
    assert nearest_jaccard([], Gold()) == 1.0
    many = Gold(required=[GoldItem(any_of=["a", "b", "c"])] * 60)
    assert nearest_jaccard(["a", "b", "c", "d"], many) == 0.75, "sixty choices of three are few sets"


def test_top_hit_looks_at_the_drug_with_most_support() -> None:
    """Ties by name; an empty list hits where nothing is required."""
    assert top_hit(["a", "poison"], {"a": 0.9, "poison": 0.6}, GOLD)
    assert not top_hit(["a", "poison"], {"a": 0.6, "poison": 0.9}, GOLD)
    assert not top_hit([], {}, GOLD)
    assert top_hit([], {}, Gold())
    assert top_hit(["x"], {}, Gold(acceptable=["x"]))
