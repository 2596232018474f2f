"""Errors as problem+json (RFC 9457): our words alone, nothing of a body."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.routing import Match

from producers.intake import Abandoned, IdempotencyConflict, StrictBatch
from producers.readers.record import InputError
from shared.errors import ConsiliumError, ErasedError, NotEnoughModels, SealedElsewhere, SettingsError

log = logging.getLogger("consilium.api")
MEDIA_TYPE = "application/problem+json"
RETRY_S = 5
"""When a client may ask again after we were away."""


class ProblemBody(BaseModel):
    """What an error answer holds (RFC 9457)."""

    type: str = Field("about:blank", description="Names the kind of problem: `about:blank`, or a slug.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
    errors: list[dict[str, Any]] | None = Field(None, description="Each with its place and its reason.")


class Problem(ConsiliumError):
    """An answer other than success: `status`, what is wrong and what to do, and a slug for programs."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type_: str = "about:blank",
        errors: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.type, self.errors, self.headers = status, type_, errors, headers or {}


def not_found() -> Problem:
    """There is no such thing, or it is another source's: which of the two is not told."""
    return Problem(404, "there is no such thing here: look at the id", type_="not-found")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: these error answers, in the form that all have."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in statuses
    }


def answer(problem: Problem) -> JSONResponse:
    """The problem as an answer."""
    body = ProblemBody(
        type=problem.type,
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=str(problem),
        errors=problem.errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), problem.status, problem.headers, media_type=MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Have every error of the application answered as a problem; in no thread, for all may be taken."""
    app.add_exception_handler(ConsiliumError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for away in (OperationalError, NoConnection, SealedElsewhere):
        app.add_exception_handler(away, _away)


_STATUS: tuple[tuple[type[ConsiliumError], int, str], ...] = (
    (IdempotencyConflict, 409, "idempotency-conflict"),
    (Abandoned, 410, "abandoned"),
    (StrictBatch, 422, "strict-batch"),
    (InputError, 400, "unreadable-input"),
    (NotEnoughModels, 422, "not-enough-models"),
    (ErasedError, 410, "erased"),
    (SettingsError, 422, "refused"),
)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Problem):
        return answer(error)
    for kind, status, slug in _STATUS:
        if isinstance(error, kind):
            return answer(Problem(status, str(error), type_=slug))
    raise error  # not meant to come so far: a bug


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # what pydantic quotes is left out: place and reason only, and no name that is not ours
    errors = [
        {"where": ".".join(map(str, _ours_of(e["type"], e["loc"]))), "reason": e["msg"]}
        for e in error.errors()
    ]
    return answer(
        Problem(422, "a parameter or the body is not as documented", type_="invalid", errors=errors)
    )


def _ours_of(kind: str, place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return place[:-1] if kind == "extra_forbidden" else place


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    allowed = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else {}
    detail = {404: "there is no such path: see /v1/openapi.json", 405: "not with this method"}
    return answer(
        Problem(
            error.status_code,
            detail.get(error.status_code, HTTPStatus(error.status_code).phrase),
            headers={**(error.headers or {}), **allowed},
        )
    )


def _methods(request: Request) -> list[str]:
    """What this path can be asked with; each route knows its own methods alone."""
    asked = {"type": "http", "path": request.scope["path"], "headers": []}
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "POST")
        if any(each.matches({**asked, "method": method})[0] is Match.FULL for each in request.app.routes)
    ]


async def _away(_request: Request, error: Exception) -> JSONResponse:
    log.warning("away: %s", type(error).__name__)
    # whoever changes the site's key starts us anew with the next one
    rotating = isinstance(error, SealedElsewhere)
    what = "the site's key is being changed" if rotating else "the database cannot be reached"
    return answer(
        Problem(
            503,
            f"{what}, and nothing was acknowledged: send it again",
            type_="away",
            headers={"Retry-After": str(RETRY_S)},
        )
    )
