"""What a consultation is expected to cost: from prices and the design of the reviews."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.errors import SettingsError
from shared.expected_cost import ANSWER_TOKENS, REVIEW_TOKENS, expected_usd, require_prices
from shared.registry import Model


def model(name: str, usd_in: float | None = 0, usd_out: float | None = 0) -> Model:
    """A model with these prices per million tokens."""
    return Model.model_validate(
        {
            "name": name,
            "provider": "p",
            "protocol": "openai",
            "location": "remote",
            "family": "f",
            "base_url": "http://127.0.0.1:9/v1",
            "usd_per_mtok_in": usd_in,
            "usd_per_mtok_out": usd_out,
        }
    )


@pytest.mark.parametrize(("n", "reviews"), [(2, 1), (3, 2), (5, 4), (6, 4), (12, 4)])
def test_the_answers_that_are_designed(n: int, reviews: int) -> None:
    """Every seat answers once and reviews as many as the design gives it."""
    models = [model(f"m{k}", 0, 1_000_000) for k in range(n)]
    tokens = n * (ANSWER_TOKENS + reviews * REVIEW_TOKENS)
    assert expected_usd(models, 1000, reviews_per_answer=4) == tokens


def test_the_case_is_read_by_everybody_each_time() -> None:
    """Four characters a token; one seat's answer is what the other reads, beside the case."""
    models = [model("a", 1_000_000, 0), model("b")]
    short, long = (expected_usd(models, n, reviews_per_answer=4) for n in (1000, 1400))
    assert short is not None
    assert long is not None
    assert long - short == 2 * 100, "a generation and a review"
    assert short > 2 * 250 + ANSWER_TOKENS, "the prompts are text as well"


def test_free_and_not_known() -> None:
    """Free models cost 0; one price that is not known makes the whole not known."""
    free = [model("a"), model("b")]
    assert expected_usd(free, 1000, reviews_per_answer=4) == Decimal(0)
    assert expected_usd([*free, model("c", None, 1)], 1000, reviews_per_answer=4) is None


def test_prices_are_required_by_name() -> None:
    """Only of those who may be asked; a name that is nobody's costs nothing."""
    registry = {m.name: m for m in (model("a"), model("b", 1, None), model("c", None, None))}
    require_prices(["a", "gone"], registry)
    with pytest.raises(SettingsError, match=r"\(b, c\)"):
        require_prices(["a", "b", "c"], registry)
