"""One record of the input, whatever its format: a vignette, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import RecordError
from shared.schemas import Vignette


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
