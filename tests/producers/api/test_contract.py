"""Schemathesis over the whole description: no answer that it does not tell of, and none of 5xx."""

from __future__ import annotations

import re
import uuid
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import requests
import schemathesis
from celery import Celery
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests import accepted
from tests.producers.api.conftest import Door
from tests.producers.api.ended import BAD, concluded, knees
from tests.producers.api.test_chemistry import stored
from tests.workers.chat_server import Server

EXAMPLES = 5
"""Of each operation, good ones and bad ones each."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def ids(door: Door, app: Celery, server: Server) -> dict[str, list[uuid.UUID]]:
    """What is there, by the parameter that names it: ended and open, and what was set aside."""
    done = concluded(door, app, server, [*knees(1), BAD])
    open_ = accepted.submit(door.ctx, 1)
    records = accepted.ask(door.ctx, "SELECT id FROM records ORDER BY id")
    return {
        "submission_id": [done, open_],
        "consultation_id": [one for s in (done, open_) for one in accepted.consultations_of(door.ctx, s)],
        "record_id": [id_ for (id_,) in records],
        "snapshot_id": [stored(door)],
    }


def test_the_description_holds(
    door: Door, ids: dict[str, list[uuid.UUID]], subtests: pytest.Subtests
) -> None:
    """Every operation with requests that fit and that do not, on things that are there and that are not."""
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
    schema = schemathesis.openapi.from_dict(_description(door), config=config)
    schema.config.update(base_url=door.url)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/v1/submissions/{submission_id}/results", "/v1/chemistry"} <= {one.path for one in operations}
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {door.key()}"
        # what removes things comes last, so that the others find them
        for operation in sorted(operations, key=lambda one: one.method.upper() == "DELETE"):
            asked = [*operation.iter_parameters(), *operation.body]
            for mode in GenerationMode if asked else [GenerationMode.POSITIVE]:
                with subtests.test(f"{operation.label} {mode.value}"):
                    _try(operation, mode, ids, session)


def test_every_example_is_one(door: Door) -> None:
    """Examples of schemas and of their fields are valid by the schema beside them."""
    components = _description(door)["components"]
    tried = 0
    for schema in components["schemas"].values():
        for part in (schema, *schema.get("properties", {}).values()):
            for example in part.get("examples", ()):
                jsonschema_rs.validate({**part, "components": components}, example)
                tried += 1
    assert tried > 20


def test_the_page_lists_every_route(door: Door) -> None:
    """No route is missing in docs/api.md, and none is invented."""
    page = (accepted.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)`(?=[^|]*\|)", page)
    there = [
        (method.upper(), re.sub(r"\{(\w+_id)\}", "{id}", path.removeprefix("/v1")).replace("resource_", ""))
        for path, methods in _description(door)["paths"].items()
        for method in methods
    ]
    assert sorted(told) == sorted(there)


def _description(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{door.url}/v1/openapi.json", timeout=60).json()
    return found


def _try(
    operation: Any, mode: GenerationMode, ids: dict[str, list[uuid.UUID]], session: requests.Session
) -> None:
    """Requests that fit are about what is there, the others about whatever is drawn."""
    answered = set()

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def each(case: Any, data: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            for name in ids.keys() & case.path_parameters.keys():
                case.path_parameters[name] = str(data.draw(st.sampled_from(ids[name])))
        answer = case.call_and_validate(session=session, headers=dict(session.headers), checks=CHECKS)
        answered.add(answer.status_code)

    each()
    if mode is GenerationMode.POSITIVE and operation.method.upper() == "GET":
        assert answered & {200, 202}, f"nothing was ever found: {answered}"
