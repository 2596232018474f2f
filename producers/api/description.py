"""The OpenAPI description: what no route's signature says."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from producers.api.outcomes import Decided
from producers.api.outputs import Result
from producers.api.problems import ProblemBody


def describe(app: FastAPI) -> None:
    """Add the schemas of errors and of lines, which answers name that no model makes."""
    plain = app.openapi
    _, schemas = models_json_schema(
        [(ProblemBody, "serialization"), (Result, "serialization"), (Decided, "validation")],
        ref_template="#/components/schemas/{model}",
    )

    def openapi() -> dict[str, Any]:
        found = plain()
        found.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual has it
