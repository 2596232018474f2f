"""Every error this project raises on purpose, as one tree.

    ConsiliumError
    ├── SettingsError            a setting or configuration file is wrong (names the variable, line, key)
    │   └── SealedElsewhere      a stored key opens with none of this process's site keys
    ├── RecordError              one record of a batch cannot be accepted (line, field, reason)
    ├── PolicyError              a source's policy forbids the model
    ├── KnowledgeError           safety rules cannot be read (every bad line: file, line, field, reason)
    ├── NotEnoughModels          fewer usable and allowed models than the ensemble needs
    ├── UnreadableAnswer         a model's answer does not fit its schema (malformed)
    ├── ErasedError              the data key of a sealed document is gone: the text was erased
    └── ModelError               a call to a model did not give an answer
        ├── RateLimited          429; carries the server's Retry-After
        ├── Unavailable          5xx, connection refused or cut, a deadline passed
        ├── Rejected             the request itself is refused (4xx): the same request fails again
        ├── Refused              the model declined to answer
        ├── OverLength           the prompt or the answer did not fit
        └── GivenUp              we closed the call ourselves, at shutdown

Messages carry codes, names of fields and numbers, never content: they reach logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ConsiliumError(Exception):
    """Base class of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class SettingsError(ConsiliumError):
    """A setting or configuration file is wrong; the message names it and the remedy."""

    exit_code = 2


class SealedElsewhere(SettingsError):
    """A stored key opens with none of the site keys that this process was given."""


class RecordError(ConsiliumError):
    """One record of a batch cannot be accepted; the rest of the batch goes on.

    `code` is a short slug, `path` the field inside the record ("context.age"), `line` is 1-based, `ordinal`
    the record's place in the batch (0-based, several files are one batch). `reason` names what is wrong and
    what to do and never quotes the value.
    """

    def __init__(
        self, code: str, reason: str, *, path: str = "", line: int | None = None, ordinal: int | None = None
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.path = path
        self.line = line
        self.ordinal = ordinal


class PolicyError(ConsiliumError):
    """A source's policy forbids that this model reads its patients."""


class KnowledgeError(ConsiliumError):
    """Safety rules cannot be read; the message lists every bad line with file, line, field and remedy."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class NotEnoughModels(ConsiliumError):
    """Fewer usable and allowed models than the ensemble needs."""

    exit_code = 5


class UnreadableAnswer(ConsiliumError):
    """A model's answer does not fit its schema; `fault` says how, without quoting the answer."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class ErasedError(ConsiliumError):
    """The data key of a sealed document is gone: its text was erased."""


class ModelError(ConsiliumError):
    """A call to a model gave no answer. `kind` is the slug stored with the call.

    `status` is the HTTP status, where there was one; `retry_after_s` the provider's own word, a minimum. The
    tokens are those paid for although the answer is of no use: None when not known, 0 when nothing was sent.
    """

    kind: ClassVar[str] = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


class RateLimited(ModelError):
    """The provider asks to wait (429); `retry_after_s` is its own word, where given."""

    kind = "rate_limited"


class Unavailable(ModelError):
    """The provider is down, cut the connection, or passed the deadline."""

    kind = "unavailable"


class Rejected(ModelError):
    """The provider refuses the request itself; asking again the same way cannot help."""

    kind = "rejected"


class Refused(ModelError):
    """The model declined to answer."""

    kind = "refused"


class OverLength(ModelError):
    """The prompt or the answer did not fit the model's length."""

    kind = "over_length"


class GivenUp(ModelError):
    """We closed the call ourselves at shutdown; what it cost is not known."""

    kind = "given_up"
