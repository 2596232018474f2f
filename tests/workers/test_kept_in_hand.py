"""What was paid for while PostgreSQL is away: kept in hand, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg.errors
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.accepted import ask, calls
from tests.workers.one_answer import World, one_answer
from workers.clients import openai
from workers.context import Context


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """The world of one test."""
    with one_answer(database_url) as made:
        yield made


@dataclass
class Flaky(Context):
    """A context whose transactions fail at commit while PostgreSQL is said to be away, and whose statements
    fail before they run, or after (`in_doubt`: done, but nobody was told)."""

    away: int = 0
    failed: int = 0
    in_doubt: bool = False

    def transaction(self) -> AbstractContextManager[Session]:
        """As ever, but that a commit that is due while it is away fails."""
        return self._away() if self.away else super().transaction()

    def statements(self) -> AbstractContextManager[Connection]:
        """As ever, but that a statement fails while it is away."""
        return self._statement_away() if self.away else super().statements()

    @contextmanager
    def _away(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            self._fail()

    @contextmanager
    def _statement_away(self) -> Iterator[Connection]:
        with super().statements() as connection:
            if not self.in_doubt:
                self._fail()
            yield connection
            self._fail()

    def _fail(self) -> None:
        self.away -= 1
        self.failed += 1
        raise OperationalError("", {}, psycopg.errors.AdminShutdown())


def flaky(world: World, monkeypatch: pytest.MonkeyPatch, away: int, **changes: Any) -> Flaky:
    """PostgreSQL goes away when the model has answered, for so many transactions."""
    base = world.ctx
    settings = base.settings.model_copy(update=changes)
    ctx = Flaky(settings, base.registry, base.vault, name=base.name)
    ask_model = openai.ask

    def then_away(*given: Any, **how: Any) -> Any:
        reply = ask_model(*given, **how)
        ctx.away = away
        return reply

    monkeypatch.setattr(openai, "ask", then_away)
    world.ctx = ctx
    return ctx


@pytest.mark.parametrize("in_doubt", [False, True])
def test_a_paid_answer_is_kept_in_hand_while_postgresql_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, in_doubt: bool
) -> None:
    """The first stores fail, or are done and nobody is told: the answer is held and stored, paid once."""
    ctx = flaky(world, monkeypatch, away=3)
    ctx.in_doubt = in_doubt
    assert world.answer() is None
    assert ctx.failed == 3
    assert world.row["state"] == "answered"
    assert (world.asked, world.outcomes) == (1, [("answered", None)])
    [(spent,)] = ask(ctx, "SELECT spent_usd FROM consultations")
    assert calls(ctx, world.owed_id) == [(1, "answered", None, spent)]


def test_an_outage_longer_than_we_hold_blames_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away for longer than `hold_s`: once it is back the claim is given back, no try, no crash; and what was
    paid for is stored after all, and read without another call."""
    ctx = flaky(world, monkeypatch, away=2, hold_s=0.15)
    with pytest.raises(OperationalError):
        world.answer()
    assert ctx.failed == 2
    now = world.row
    assert (now["state"], now["claimed_until"], now["tries"], now["crashes"]) == ("owed", None, 0, 0)
    assert world.outcomes == [("answered", None)]
    assert world.answer() is None
    assert (world.row["state"], world.asked) == ("answered", 1)
