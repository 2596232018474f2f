"""Model clients: one module per protocol, each with a function `ask`; keys are read here, at each call.

A client sends one request and retries nothing. It returns the text of the answer as it came, so that it can
be stored before anybody reads it, or raises one of the `ModelError`s.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.errors import Rejected
from shared.registry import Model
from workers.clients.connections import CallsInFlight, calls_in_flight

__all__ = ["CallsInFlight", "Client", "Message", "Reply", "calls_in_flight", "client_for", "read_key"]

Message = Mapping[str, str]
"""`{"role": "system" | "user" | "assistant", "content": text}`."""


@dataclass(frozen=True)
class Reply:
    """A model's answer as it came, and what it cost. The text is clinical: it is not in the repr."""

    raw_text: str = field(repr=False)
    returned_model: str | None  # the name that the provider says has answered
    fingerprint: str | None  # the provider's own word for the configuration behind that name
    prompt_tokens: int | None  # None = the provider did not say
    completion_tokens: int | None
    finish_reason: str | None
    duration_s: float

    @property
    def returned(self) -> str | None:
        """Name and fingerprint as returned: with the request's own, the identity of the model version."""
        return " ".join(part for part in (self.returned_model, self.fingerprint) if part) or None


class Client(Protocol):
    """What a protocol's module has."""

    def ask(
        self,
        model: Model,
        messages: Sequence[Message],
        *,
        schema_name: str,
        schema: Mapping[str, Any],
        request_id: str,
        seed: int | None = None,
        calls: CallsInFlight = calls_in_flight,
    ) -> Reply:
        """Send `messages` once and wait for the whole answer, at most `model.deadline_s` seconds.

        `schema` is the JSON schema of the answer, asked for in the provider's own way unless the model is
        not `structured`; `request_id` is "<owed answer>:<claim number>",
        `seed` (31 bits) what the provider is to sample by, where it takes one. Raises
        `ModelError`: `RateLimited`, `Unavailable`, `Rejected` (also when the model's key cannot be read),
        `Refused`, `OverLength`, `GivenUp`.
        """
        ...


def client_for(model: Model) -> Client:
    """The client that speaks the model's protocol."""
    from workers.clients import anthropic, gemini, ollama, openai  # here, since they need the types above

    protocols: dict[str, Client] = {
        "openai": openai,
        "anthropic": anthropic,
        "gemini": gemini,
        "ollama": ollama,
    }
    return protocols[model.protocol]


def read_key(model: Model) -> str | None:
    """The model's key, read anew at each call so that a rotated one is used; None if it has none.

    Raises `Rejected`, naming the variable or file, if there is no usable key.
    """
    if model.key_env is not None:
        where = f"the environment variable {model.key_env}"
        key = os.environ.get(model.key_env, "")
    elif model.key_file is not None:
        where = f"the file {model.key_file}"
        try:
            key = model.key_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise _no_key(f"{where} cannot be read ({type(error).__name__})") from None
    else:
        return None
    key = key.strip()
    if not key:
        raise _no_key(f"{where} is not set or empty")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise _no_key(f"{where} holds characters that no key has")
    return key


def _no_key(why: str) -> Rejected:
    return Rejected(f"no key: {why}", prompt_tokens=0, completion_tokens=0)
