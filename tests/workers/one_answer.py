"""A worker's context whose models all live on one real server, and an answer that is owed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests import accepted
from tests.accepted import ask, calls, one_owed, recommendation, row
from tests.workers.chat_server import Server, chat_servers, completion
from workers import answering
from workers.answering import Again
from workers.context import Context

GOOD = recommendation("amoxicillin")
QUICK: dict[str, Any] = {"hold_s": 5, "backoff_base_s": 0.001, "backoff_cap_s": 0.002}


class Bodies(dict[str, Any]):
    """A response's body that is another one each time it is written; the last stays."""

    def __init__(self, contents: tuple[str, ...]) -> None:
        super().__init__(is_not="empty")
        self.left = list(contents)

    def items(self) -> Any:
        return completion(self.left.pop(0) if len(self.left) > 1 else self.left[0]).items()


@dataclass
class World:
    """A worker's context whose models all live on one server, and an answer that is owed."""

    server: Server
    ctx: Context

    def __post_init__(self) -> None:
        self.owed_id = one_owed(self.ctx)

    def says(self, *contents: str) -> None:
        """The server's next answers; the last of them stays."""
        self.server.body = Bodies(contents)

    def fails(self, status: int, **headers: str) -> None:
        """The server answers with an error."""
        self.server.status, self.server.headers = status, {k.replace("_", "-"): v for k, v in headers.items()}
        self.server.body = {"error": {"message": "no", "code": "x"}}

    def answer(self) -> Any:
        """One run of the code under test."""
        return answering.answer(self.ctx, self.owed_id)

    def answer_until_done(self) -> None:
        """Run again as often as it asks to, as the task would after its countdown."""
        while (refusal := self.answer()) is not None:
            assert isinstance(refusal, Again)
            ask(self.ctx, "UPDATE owed_answers SET not_before = NULL")

    @property
    def row(self) -> dict[str, Any]:
        """The owed answer."""
        return row(self.ctx, self.owed_id)

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        """Of its calls, in order."""
        return [(outcome, error) for _, outcome, error, _ in calls(self.ctx, self.owed_id)]

    @property
    def asked(self) -> int:
        """Requests that reached the server."""
        return len(self.server.requests)


@contextmanager
def one_answer(database_url: str) -> Iterator[World]:
    """The world of one test."""
    with chat_servers() as start:
        server = start()
        server.body = completion(GOOD)
        yield World(server, accepted.context(database_url, server.url, **QUICK))
