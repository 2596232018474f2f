"""What the protocols share: one POST of a JSON body, and a wary reading of whatever comes back.

No word that a server writes reaches a message of ours unless it is one that we know: it may quote the prompt.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from shared.errors import ModelError, RateLimited, Rejected, Unavailable
from shared.registry import Model
from workers.clients import Message
from workers.clients.connections import CallsInFlight, HTTPAnswer, Route

MAX_RETRY_AFTER_S = 86_400.0
"""A longer Retry-After is taken for a day."""


def send(
    model: Model,
    path: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    request_id: str,
    calls: CallsInFlight,
) -> tuple[HTTPAnswer, float]:
    """POST `body` to `path` below the model's address: the answer of any status, and the seconds it took."""
    started = time.monotonic()
    answer = calls.post(
        model.base_url + path,
        headers={
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "consilium",
            "X-Request-ID": request_id,
            **headers,
        },
        content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        connect_s=model.connect_s,
        deadline_s=model.deadline_s,
        route=Route(model.proxy, model.ca_file),
    )
    return answer, time.monotonic() - started


def conversation(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The system's words, and the turns without it, for protocols that keep them apart.

    A turn without words, such as the empty answer that a repair quotes, is left out: they refuse those.
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    return system, [m for m in messages if m["role"] != "system" and m["content"].strip()]


def media_type(answer: HTTPAnswer) -> str:
    """The body's media type in lower case, without its parameters."""
    content_type: str = answer.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower()


def json_object(answer: HTTPAnswer) -> dict[str, Any]:
    """The body as a JSON object, alone or in a list of one. Of an error, {} if it is none.

    Raises `Unavailable` where a 200 holds none.
    """
    kind = media_type(answer)
    found: Any = None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None  # said below
    if isinstance(found, list) and len(found) == 1:  # Google's, of some errors
        found = found[0]
    if isinstance(found, dict):
        return found
    if answer.status == 200:
        raise Unavailable("200, but no JSON object", status=200)
    return {}


def error(
    answer: HTTPAnswer,
    status: int,
    *,
    word: str | None = None,
    kind: type[ModelError] | None = None,
    wait_s: float | None = None,
) -> ModelError:
    """The typed error of a response that is no answer.

    `word` is the provider's own and known to us, `kind` what it means where that is more than the status
    says, `wait_s` a wait that the body names; else Retry-After is read.
    """
    if kind is None:
        if status == 429:
            kind = RateLimited
        elif 300 <= status < 500 and status not in (408, 425, 499):
            kind = Rejected
        else:
            kind = Unavailable
    what = f"{status} {word}" if word else f"{status}, a redirect" if 300 <= status < 400 else f"{status}"
    wait_s = retry_after_s(answer.headers) if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S)
    return kind(what, status=status, retry_after_s=wait_s)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds to wait at least: from seconds, or from an HTTP date against the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        wait_s = float(value)
    elif (until := _date(value)) is not None:
        wait_s = (until - (_date(headers.get("Date", "")) or datetime.now(UTC))).total_seconds()
    else:
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def text(content: Any) -> str:
    """The content's text, which some servers cut into parts; "" if there is none. Always valid UTF-8."""
    if isinstance(content, list):
        content = "".join(str(table(part).get("text") or "") for part in content)
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def name(value: Any) -> str | None:
    """A short printable name, else None."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100 else None


def count(value: Any) -> int | None:
    """A number of tokens, else None: not known."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def table(value: Any) -> dict[str, Any]:
    """A JSON object, {} if it is something else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list; what is something else is left out."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
