"""Confidence: calibrated where the data allow it, silent where they do not, and the measures by hand."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.calibration import (
    Calibrator,
    Case,
    Features,
    brier,
    brier_difference,
    calibration_error,
    fit,
    set_of,
    within_noise,
)
from shared.calibration_forms import FORMS

P = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def cases(vignettes: int, repeats: int = 3, *, seed: int = 20, informative: bool = True) -> list[Case]:
    """P(right) rises with the agreement and the grade, as on the panel; else it depends on nothing."""
    draw, made = random.Random(seed), []
    for v in range(vignettes):
        for _ in range(repeats):
            agreement, grade = draw.choice((0.0, 0.33, 0.5, 0.67, 1.0)), draw.uniform(0.2, 0.95)
            chance = 0.05 + 0.55 * agreement + 0.35 * grade if informative else 0.7
            features = Features(grade, draw.uniform(0, 0.05), agreement, draw.uniform(0.3, 1), 3)
            made.append(Case(f"{seed}-{v}", features, draw.random() < chance))
    return made


@pytest.fixture(scope="module")
def calibrator() -> Calibrator:
    """Fitted on 1,500 vignettes."""
    found = fit(cases(1500))
    assert found is not None
    return found


def test_a_calibrator_passes_its_test_and_holds_on_new_vignettes(calibrator: Calibrator) -> None:
    """On 1,500 consultations that it never saw: error at most 0.05, Brier below both others'."""
    assert calibrator.report.passed, calibrator.report
    new = cases(1500, 1, seed=2)
    p = [calibrator.confidence(case.features) for case in new]
    y = [case.right for case in new]
    assert calibration_error(p, y) <= 0.05
    grade = [case.features.grade for case in new]
    names = [case.vignette for case in new]
    for other in (grade, [sum(y) / len(y)] * len(y)):
        low, high = brier_difference(p, other, y, names)
        assert low is not None
        assert high is not None
        assert low < high < 0


def test_the_report_is_of_the_third_set_alone(calibrator: Calibrator) -> None:
    """Its numbers come from the test vignettes, and the three sets share none."""
    given_ = cases(1500)
    tested = [case for case in given_ if set_of(case.vignette) == "test"]
    p = [calibrator.stated(case.features) for case in tested]
    y = [case.right for case in tested]
    assert calibrator.report.consultations == len(tested)
    assert calibrator.report.brier == pytest.approx(brier(p, y))
    assert calibrator.report.error == pytest.approx(calibration_error(p, y))
    assert sum(calibrator.vignettes.values()) == 1500
    assert min(calibrator.vignettes.values()) > 200


def test_one_that_fails_says_nothing_and_why() -> None:
    """Where nothing tells right from wrong it is kept with its report, and its confidence is not used."""
    found = fit(cases(400, informative=False))
    assert found is not None
    assert not found.report.passed
    assert found.report.why_not is not None
    assert "Brier score not below the base rate's" in found.report.why_not
    assert found.confidence(cases(1)[0].features) is None
    assert found.stated(cases(1)[0].features) is not None


def test_too_few_vignettes() -> None:
    """299 are none, however often each was asked; cases with an unknown feature do not count."""
    assert fit(cases(299, 9)) is None
    assert fit(cases(300)) is not None
    unknown = Case("new", Features(None, None, None, None, 1), True)
    assert fit([*cases(299), unknown]) is None
    assert fit([]) is None
    assert fit(cases(100), least=90) is not None


@pytest.mark.parametrize("missing", ["grade", "variance", "agreement", "reliability"])
def test_a_missing_feature(calibrator: Calibrator, missing: str) -> None:
    """Nothing is stated from what is not known."""
    values = {"grade": 0.7, "variance": 0.01, "agreement": 1.0, "reliability": 0.8}
    assert calibrator.confidence(Features(**values, n=3)) is not None
    assert calibrator.confidence(Features(**{**values, missing: None}, n=3)) is None


@pytest.mark.parametrize("informative", [True, False])
def test_json_bit_for_bit_and_order(informative: bool) -> None:
    """Read back, and from shuffled cases, it is the same and states the same, every bit."""
    given_ = cases(320, informative=informative)
    found = fit(given_, draws=100)
    assert found is not None
    back = Calibrator.from_json(json.loads(json.dumps(found.to_json())))
    assert back == found
    assert fit(random.Random(0).sample(given_, len(given_)), draws=100) == found
    assert [back.stated(c.features) for c in given_] == [found.stated(c.features) for c in given_]
    assert Calibrator.from_json({}) is None


def test_each_form_round_trips_and_isotonic_never_falls() -> None:
    """A step in the grade is told by the isotonic form, which rises and is never certain."""
    draw, made = random.Random(3), []
    for v in range(900):
        grade = draw.random()
        features = Features(grade, 0.01, draw.random(), 0.5, 3)
        made.append(Case(str(v), features, draw.random() < (0.9 if grade > 0.45 else 0.1)))
    found = fit(made)
    assert found is not None
    assert found.form == "isotonic"
    assert Calibrator.from_json(json.loads(json.dumps(found.to_json()))) == found
    stated = [found.stated(Features(k / 100, 0.01, 0.5, 0.5, 3)) for k in range(101)]
    assert stated == sorted(stated)
    assert 0 < stated[0] < 0.2 < 0.8 < stated[-1] < 1


def test_what_neither_rises_nor_falls_throughout_is_learned() -> None:
    """P(right) that falls, rises and falls with the grade: told by splines, and well calibrated; the form is
    chosen on the second set and then fitted on the first two."""
    draw, made = random.Random(8), []
    for v in range(3000):
        grade = draw.random()
        features = Features(grade, 0.01, draw.choice((0.0, 0.5, 1.0)), draw.random(), 3)
        chance = 0.1 + 0.8 * abs((3 * grade) % 2 - 1)
        made.append(Case(str(v), features, draw.random() < chance))
    found = fit(made)
    assert found is not None
    assert found.report.passed, found.report
    assert min(found.chosen_by, key=lambda name: found.chosen_by[name]) == "logistic with splines"
    known = [case for case in made if set_of(case.vignette) != "test"]
    x = np.array([case.features.row() for case in known])
    y = np.array([float(case.right) for case in known])
    order = sorted(range(len(known)), key=lambda k: (known[k].vignette, *x[k], y[k]))
    order.sort(key=lambda k: set_of(known[k].vignette) != "fit")
    assert found.model == FORMS["logistic with splines"](x[order], y[order])
    assert Calibrator.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("inner", [True, False])
def test_what_an_earlier_version_stored_still_loads(inner: bool) -> None:
    """A logistic form without knots, alone or under an isotonic one, states what it stated."""
    logistic = {
        "intercept": 0.5,
        "coefficients": [1.0, 0.0, 2.0, 0.0, 0.0],
        "centre": [0.5, 0.1, 0.5, 0.5, 3.0],
        "scale": [0.25, 0.1, 0.25, 0.25, 1.0],
        "products": False,
    }
    steps = {"score": "logistic", "starts": [-9.0, 4.0], "values": [0.25, 0.75], "inner": logistic}
    body = {
        "form": "isotonic" if inner else "logistic",
        "model": steps if inner else logistic,
        "definition": "list-1",
        "vignettes": {"fit": 240, "choose": 60, "test": 100},
        "chosen_by": {"logistic": [0.1, 0.02]},
        "report": {
            **dict.fromkeys(("consultations", "vignettes"), 100),
            **dict.fromkeys(("error", "noise", "brier", "brier_grade", "brier_base"), 0.1),
            "against_grade": [-0.2, -0.1],
            "against_base": [-0.2, -0.1],
            "why_not": None,
        },
    }
    found = Calibrator.from_json(body)
    assert found is not None
    stated = found.confidence(Features(0.75, 0.01, 0.75, 0.5, 3))  # logit 0.5 + 1·1 + 2·1
    assert stated == (0.25 if inner else pytest.approx(1 / (1 + np.exp(-3.5))))


def test_calibration_error_by_hand() -> None:
    """Two bins: |0.2 − 0| and |0.8 − 0.5|, each half of the cases."""
    p, y = [0.2, 0.2, 0.8, 0.8], [0, 0, 1, 0]
    assert calibration_error(p, y, bins=2) == pytest.approx((0.2 + 0.3) / 2)
    assert brier(p, y) == pytest.approx((0.04 + 0.04 + 0.04 + 0.64) / 4)
    assert calibration_error([0.7] * 10, [1] * 7 + [0] * 3) == pytest.approx(0)


@settings(max_examples=60, deadline=None)
@given(rows=P, data=st.data())
def test_calibration_error_is_a_share_whatever_the_order(
    rows: list[tuple[float, bool]], data: st.DataObject
) -> None:
    """In [0, 1], the same for any order of the cases, at least the error in the large."""
    p, y = zip(*rows, strict=True)
    error = calibration_error(p, y)
    again = calibration_error(*zip(*data.draw(st.permutations(rows)), strict=True))
    assert error == pytest.approx(again, abs=1e-12)
    assert abs(np.mean(p) - np.mean(y)) - 1e-12 <= error <= 1 + 1e-12


def test_within_noise_holds_for_true_probabilities_and_not_for_false_ones() -> None:
    """Outcomes drawn from p pass in about 95 %; probabilities that are 0.1 too high never do."""
    source = np.random.default_rng(1)
    passed = 0
    for seed in range(60):
        p = source.uniform(0.1, 0.8, 400)
        y = source.random(400) < p
        error, noise = within_noise(p, y, draws=200, seed=seed)
        passed += error <= noise
        assert within_noise(p + 0.15, y, draws=100) > within_noise(p, y, draws=100)
        high, noise = within_noise(p + 0.15, y, draws=100)
        assert high > noise
    assert passed >= 51


@pytest.mark.parametrize(("many", "repeats"), [(20, 15), (60, 3)])
@pytest.mark.parametrize("alike", [0.0, 1.0])
def test_within_noise_holds_where_repeats_are_alike(many: int, repeats: int, alike: float) -> None:
    """True probabilities pass in about 95 %, be a vignette's repeats one outcome or each its own; where each
    is its own, probabilities that are 0.2 too low hardly ever do."""
    source, names = np.random.default_rng(2), np.repeat([f"v{k}" for k in range(many)], repeats).tolist()
    passed = false = 0
    for seed in range(60):
        p = np.repeat(source.uniform(0.3, 0.9, many), repeats)
        own, shared = source.random(p.size), np.repeat(source.random(many), repeats)
        y = np.where(source.random(p.size) < alike, shared, own) < p
        error, noise = within_noise(p, y, names, draws=200, seed=seed)
        passed += error <= noise
        error, noise = within_noise(p - 0.2, y, names, draws=200, seed=seed)
        false += error <= noise
    assert passed >= 51
    assert alike or false <= 12


def test_vignettes_of_one_case_each_are_the_plain_form() -> None:
    """Names alone change nothing, to the last bit."""
    source = np.random.default_rng(3)
    p = source.random(80)
    y = source.random(80) < p
    assert within_noise(p, y, [f"v{k}" for k in range(80)]) == within_noise(p, y)


@pytest.mark.parametrize(
    ("p", "y"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([0.5], [0.3]), ([float("nan")], [1])]
)
def test_bad_input(p: list[float], y: list[float]) -> None:
    """Shapes that differ, nothing at all, no probability, no outcome."""
    with pytest.raises(ValueError):
        calibration_error(p, y)
