"""The outermost layer: a bug is logged by its type and place alone, for its message may quote a record."""

from __future__ import annotations

import logging
import traceback

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.api.problems import Problem, answer

log = logging.getLogger("consilium.api")
OURS = ("producers", "db", "shared")


class Guard:
    """Nothing that is raised below comes to Starlette's or uvicorn's handlers, which log whole tracebacks.

    500 where no answer has begun; one that has begun breaks off, so that nobody takes it for whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # before its body was complete: nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - told by type and place
            log.error("a bug: %s", told(error))
            if not begun:  # else uvicorn closes the connection of what is not complete
                await answer(
                    Problem(500, "an error of ours: it is in our log, without what you sent", type_="bug")
                )(scope, receive, send)


def told(error: Exception) -> str:
    """Its type and the last place in our code that it came through; nothing that was sent.

    Starlette wraps what comes after an answer's beginning: the cause says what it was.
    """
    if isinstance(error.__cause__, Exception) and error.__cause__.__traceback__ is not None:
        error = error.__cause__
    places = [(f.f_globals.get("__name__", ""), line) for f, line in traceback.walk_tb(error.__traceback__)]
    module, line = ([each for each in places if each[0].partition(".")[0] in OURS] or places)[-1]
    return f"{type(error).__name__} at {module}:{line}"
