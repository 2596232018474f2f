"""Pages of a list: an opaque cursor, and the Link to the next page (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Response

from producers.api.problems import Problem

Limit = Annotated[int, Query(ge=1, le=100, description="Items of a page.")]
After = Annotated[
    str | None,
    Query(
        description="Where this page begins: from the Link of the page before.",
        pattern="^[A-Za-z0-9_-]{22}$",
        examples=["AZrTmF3LfQCK1m9c3vJ0bA"],
    ),
]
LINK = {"description": 'The next page: `<…>; rel="next"`; absent on the last.', "schema": {"type": "string"}}


def tell_next(response: Response, address: str, last: uuid.UUID, **given: Any) -> None:
    """Say where the page behind `last` is. Nothing of the query is repeated but what is `given`."""
    known = {name: value for name, value in given.items() if value is not None}
    response.headers["Link"] = f'<{address}?{urlencode({**known, "after": _cursor(last)})}>; rel="next"'


def _cursor(last: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def id_in(after: str | None) -> uuid.UUID | None:
    """The last id of the page before. Raises `Problem` 422."""
    if after is None:
        return None
    try:
        return uuid.UUID(bytes=base64.b64decode(f"{after}==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise Problem(422, "`after` is not from a Link of ours: begin without it", type_="invalid") from None
