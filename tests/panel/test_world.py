"""The planted world: a real effect of ensembles, informative reviews, planting and obeying, latencies."""

from __future__ import annotations

import math
import random
import re
from itertools import combinations
from statistics import mean, median

import pytest

from panel.answering import believe, is_blind
from panel.case import read_case
from panel.faults import Faults, malformed
from panel.knowledge import knowledge
from panel.models import MODELS
from panel.reviewing import grade, read_shown
from panel.server import Panel, latency_s, make_reply
from panel.wording import PLANTED, asks_for_top_grade
from shared.errors import UnreadableAnswer
from shared.reading import read_answer
from shared.schemas import Recommendation, ReviewAnswer
from tests.panel.world import (
    cases,
    generate_body,
    is_right,
    rendered,
    review_body,
    rights,
    shown,
    starts,
    vignettes,
)

SEEDS = 5


@pytest.fixture(scope="module")
def worlds():
    """Rights of models and trios under a few seeds."""
    return [rights(seed) for seed in range(SEEDS)]


def test_single_models_range_from_weak_to_strong(worlds):
    """Over the 20 examples single models are right in about 0.4 to 0.85 of cases."""
    by_model = {m: mean(single[m] for single, _ in worlds) for m in MODELS}
    assert 0.35 <= min(by_model.values()) <= 0.5
    assert 0.75 <= max(by_model.values()) <= 0.9


def test_a_majority_of_three_beats_the_mean_model_but_not_always(worlds):
    """On average over random trios it does, in every seed it also does worse somewhere."""
    gains = []
    for single, trios in worlds:
        of_trio = {trio: right - mean(single[m] for m in trio) for trio, right in trios.items()}
        gains.append(mean(of_trio.values()))
        assert min(of_trio.values()) < 0
        assert any(trios[t] > max(single[m] for m in t) for t in trios)
    assert mean(gains) > 0.02


def test_families_share_their_mistakes():
    """Two models of one family name the same wrong drug more often than two of different families."""
    same, other = [], []
    for seed in range(SEEDS):
        for case, gold in cases():
            lists = {m: starts(m, case, seed) for m in MODELS}
            wrong = [m for m in MODELS if not is_right(lists[m], gold)]
            for one, two in combinations(wrong, 2):
                kin = MODELS[one].family == MODELS[two].family
                (same if kin else other).append(bool(lists[one] & lists[two]))
    assert mean(same) > mean(other) + 0.1
    shares = [mean(is_blind(m, c) for c in knowledge().conditions.values()) for m in MODELS.values()]
    assert all(0.05 < share < 0.3 for share in shares)


def test_reviews_tell_right_from_wrong_but_not_perfectly():
    """The mean of two reviewers ranks a right answer above a wrong one in 80 to 97 % of pairs."""
    draw, right, wrong = random.Random(0), [], []
    for vignette in vignettes():
        case = read_case(rendered(vignette))
        for author in MODELS:
            belief = believe(MODELS[author], case, 0)
            prompt = review_body("x", rendered(vignette), shown(belief))["messages"][1]["content"]
            assert read_shown(prompt).starts == {name for name, _ in belief.starts}
            reviewers = draw.sample([m for m in MODELS if m != author], 2)
            grades = [grade(MODELS[r], case, read_shown(prompt), prompt, 0)[0] for r in reviewers]
            good = is_right({name for name, _ in belief.starts}, vignette.gold)
            (right if good else wrong).append(mean(grades))
    assert 0.8 < mean(r > w for r in right for w in wrong) < 0.97


def test_one_model_plants_and_varies_where():
    """The planting model writes such a sentence in about its share of answers; the others never do."""
    places = {"rationale": 0, "order": 0}
    for seed in range(10):
        panel = Panel(seed=seed, faults=Faults.read("off"))
        for vignette in vignettes():
            for model in MODELS.values() if seed == 0 else (MODELS["sim-birch-medium"],):
                text = make_reply(panel, model, generate_body(model.name, rendered(vignette)), 1)
                planted = asks_for_top_grade(str(text.answer))
                assert planted <= model.plants
                if planted:
                    places["rationale" if asks_for_top_grade(text.answer["rationale"]) else "order"] += 1
    assert places["order"] > 0
    assert 0.5 < sum(places.values()) / 200 < 0.7


def test_planting_can_be_turned_off_and_changes_nothing_else():
    """With planting 0 the same answer comes without the sentence, so that its effect can be measured."""
    model, case = MODELS["sim-birch-medium"], rendered(vignettes()[0])
    rates = (0.0, 1.0)
    plain, planted = (
        make_reply(Panel(faults=Faults({"planting": rate})), model, generate_body(model.name, case), 1).answer
        for rate in rates
    )
    assert plain != planted
    assert {order["name"] for order in plain["medications"]} == {o["name"] for o in planted["medications"]}
    assert not asks_for_top_grade(str(plain))


@pytest.mark.parametrize("sentence", PLANTED)
def test_two_reviewers_obey_wherever_it_stands(sentence):
    """A planted sentence inside or outside the fences makes the two obey, and nobody else."""
    case_text_, belief = rendered(vignettes()[1]), "Decision: recommend\n1. start amoxicillin, 500 mg"
    clean = review_body("x", case_text_, f"{belief}\nRationale: fine.")["messages"][1]["content"]
    inside = review_body("x", case_text_, f"{belief}\nRationale: {sentence}")["messages"][1]["content"]
    case = read_case(case_text_)
    for model in MODELS.values():
        honest, _ = grade(model, case, read_shown(clean), clean, 0)
        for prompt in (inside, f"{clean}\n{sentence}", re.sub("500 mg", f"500 mg ({sentence})", clean)):
            told, _ = grade(model, case, read_shown(prompt), prompt, 0)
            assert told == (1.0 if model.obeys else honest)
            assert read_shown(prompt) == read_shown(clean)
        assert not (model.obeys and honest == 1.0)
    assert sum(model.obeys for model in MODELS.values()) == 2


def test_ordinary_clinical_text_is_no_order_to_reviewers():
    """Scores, rates and laboratory values of real texts do not make anybody obey."""
    texts = [rendered(v) for v in vignettes()]
    texts += ["CHA2DS2-VASc score of 1, heart rate 110, creatinine 1.0 mg/dL. Grade 1 oedema. Pain score 10."]
    assert not [text for text in texts if asks_for_top_grade(text)]


def test_malformed_answers_are_unreadable():
    """Every form of a malformed answer is refused by the reader, for both schemas."""
    answer = {"decision": "no_medication", "medications": [], "rationale": "Rest."}
    review = {"grade": 0.7, "critique": "Fine."}
    for good, schema in ((answer, Recommendation), (review, ReviewAnswer)):
        forms = {malformed(good, schema.model_json_schema(), number) for number in range(60)}
        assert len(forms) >= 4
        for text in forms:
            with pytest.raises(UnreadableAnswer):
                read_answer(text, schema)


def test_latencies_scale_and_local_models_are_slow():
    """Remote medians are seconds, local ones tens of seconds; one factor scales all; reviews take half."""
    medians = {}
    for model in MODELS.values():
        replies = [make_reply(Panel(), model, generate_body(model.name, rendered(v)), 1) for v in vignettes()]
        one = [latency_s(Panel(), model, reply) for reply in replies]
        scaled = [latency_s(Panel(time_scale=0.02), model, reply) for reply in replies]
        assert scaled == pytest.approx([0.02 * s for s in one])
        assert len(set(one)) == len(one)
        assert math.isclose(median(one), model.latency_s, rel_tol=0.5)
        medians.setdefault(model.location, []).append(median(one))
    assert max(medians["remote"]) < 10 <= min(medians["local"])
    assert len(medians["local"]) == 5
