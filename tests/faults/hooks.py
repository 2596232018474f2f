"""A folder through which a scenario tells running workers where to break, and counts what they did.

    arm("die before counting", 3)      three files; whoever removes one (`take`) breaks, so it happens thrice
    put("poison", "id id id")          a value that stays until it is put away
    tell("conclude")                   one byte more in a file: what it counts is its length

The workers' side (tests/faults/app.py) is inert while the folder is empty.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "CONSILIUM_FAULTS_HOOKS"


@dataclass(frozen=True)
class Hooks:
    """One such folder."""

    folder: Path

    def arm(self, name: str, times: int = 1) -> None:
        """Let it break so many times, in whichever process comes first."""
        for number in range(times):
            (self.folder / f"{name}.{os.urandom(4).hex()}.{number}.token").touch()

    def take(self, name: str) -> bool:
        """Whether to break now: one token is used up, by one process alone."""
        for token in self.folder.glob(f"{name}.*.token"):
            try:
                token.unlink()
            except FileNotFoundError:
                continue  # another process was quicker
            return True
        return False

    def left(self, name: str) -> int:
        """Tokens that nobody has taken yet."""
        return len(list(self.folder.glob(f"{name}.*.token")))

    def put(self, name: str, value: str) -> None:
        """Set a value for all processes, from their next look on."""
        new = self.folder / f"{name}.new"
        new.write_text(value, encoding="utf-8")
        new.replace(self.folder / f"{name}.value")

    def get(self, name: str) -> str | None:
        """The value, None if there is none."""
        try:
            return (self.folder / f"{name}.value").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def tell(self, name: str) -> None:
        """Count one more; exact across processes and kills."""
        handle = os.open(self.folder / f"{name}.count", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(handle, b".")
        finally:
            os.close(handle)

    def told(self, name: str) -> int:
        """How often it was told."""
        try:
            return (self.folder / f"{name}.count").stat().st_size
        except FileNotFoundError:
            return 0

    def clear(self) -> None:
        """Break nothing any more, count from 0."""
        for file in self.folder.iterdir():
            file.unlink(missing_ok=True)
