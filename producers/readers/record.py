"""One record of the input, whatever its format: a vignette, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import ConsiliumError, RecordError
from shared.schemas import Vignette


class InputError(ConsiliumError):
    """An input cannot be read at all, or no further: what was read before it may have been stored.

    The message is for whoever sent it: it names the file, the line and what may be columns of it. `unquoted`
    is the same without such names, for answers that others may keep: where there is no header, they are a
    patient's.
    """

    exit_code = 2

    def __init__(self, file: str, line: int | None, reason: str, remedy: str, unquoted: str = "") -> None:
        place = ", ".join(part for part in (file, line and f"line {line}") if part)
        super().__init__(f"{place}: {reason}: {remedy}" if place else f"{reason}: {remedy}")
        self.line, self.reason, self.remedy = line, reason, remedy
        self.unquoted = f"{place}: {unquoted}" if unquoted else str(self)


COMPOSED = 32 * 1024
"""Characters that a record without text counts for: its vignette's own number may change with the day."""


@dataclass(frozen=True)
class Read:
    """One record of the input: a vignette, or what is wrong with it and the text to set aside.

    `text` is what was sent, in the input's own format, so that it can be mended and sent again.
    """

    line: int  # 1-based, in its file
    vignette: Vignette | None = field(repr=False)
    error: RecordError | None = None
    text: str = field(default="", repr=False)
    file: str = field(default="", repr=False)  # as named: clinical, stored nowhere
    reading: str = field(default="", repr=False)  # digest of whatever else it depends on, but the day

    @property
    def size(self) -> int:
        """About how many characters are held of it; the same whenever it is sent."""
        return len(self.text) or COMPOSED

    def sent(self) -> str:
        """What was sent; where a reader does not keep it, the vignette as JSON."""
        return self.text or (self.vignette.model_dump_json() if self.vignette else "")
