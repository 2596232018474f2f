"""What is evaluated: vignettes with gold, ways to answer them (arms), repeats, and what is learned from."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producers.readers.ndjson import lines_of, read_ndjson
from producers.readers.record import Read
from shared.errors import SettingsError
from shared.family_mix import Families
from shared.selection import Strategy

SINGLE = "SINGLE"
"""Not a strategy: every single model, as FIXED of one."""
STRATEGIES = ("LOCAL", "REMOTE", "RANDOM", "PERFORMANCE", "CHEMISTRY")
TRAINING = "training"
"""Name of the arm that makes the history; it is never measured."""
_IN_NAMES: Mapping[Families, str] = {"any": "", "same": " same family", "mixed": " mixed families"}


@dataclass(frozen=True)
class Arm:
    """One way to answer the vignettes."""

    name: str  # as reports show it
    strategy: str
    n: int
    families: Families = "any"
    models: tuple[str, ...] = ()  # of FIXED


@dataclass(frozen=True)
class Material:
    """Vignettes with gold, read whole: an evaluation's are few, and each must be right before one is paid."""

    name: str  # as people know it: a file's name may be telling, so it is printed and stored nowhere
    content: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def records(self) -> list[Read]:
        """All records. Raises `SettingsError` with the line where one is bad or has no gold."""
        reads = list(read_ndjson(lines_of(io.BytesIO(self.content))))
        for read in reads:
            if read.error is not None or read.vignette is None:
                reason = read.error.reason if read.error else "no vignette"
                raise SettingsError(f"{self.name}, line {read.line}: {reason}; nothing was submitted")
            if read.vignette.gold is None:
                raise SettingsError(f"{self.name}, line {read.line}: no gold, so it cannot be evaluated")
        if not reads:
            raise SettingsError(f"{self.name}: no vignettes in it")
        return reads


@dataclass(frozen=True)
class Spec:
    """What is asked. The same one goes on where it was interrupted."""

    vignettes: Material
    strategies: tuple[str, ...] = STRATEGIES  # SINGLE among them: every model alone
    sizes: tuple[int, ...] = (3,)
    families: tuple[Families, ...] = ("any",)
    repeats: int = 3
    seed: int = 1
    train: Material | None = None  # None: what the site has in force chooses and calibrates
    source: str = "local"

    def arms(self, models: Sequence[str]) -> list[Arm]:
        """Every way to answer, in the order asked; `models` are those that may sit alone.

        Raises `SettingsError` for an unknown strategy, families or size, and for one that is named twice.
        """
        _known("--strategies", self.strategies, (*STRATEGIES, SINGLE))
        _known("--families", self.families, tuple(_IN_NAMES))
        if not all(2 <= n <= 12 for n in self.sizes):
            raise SettingsError("--sizes are from 2 to 12; for models alone name the strategy single")
        _once("--sizes", self.sizes)
        if self.repeats < 1:
            raise SettingsError("--repeats is at least 1")
        made: list[Arm] = []
        for strategy in self.strategies:
            if strategy == SINGLE:
                made += [Arm(f"single {m}", Strategy.FIXED.value, 1, "any", (m,)) for m in models]
                continue
            made += [
                Arm(f"{strategy} n={n}{_IN_NAMES[families]}", strategy, n, families)
                for n, families in itertools.product(self.sizes, self.families)
            ]
        return made

    def to_json(self, arms: Sequence[Arm]) -> dict[str, Any]:
        """Names, numbers and digests; no text and no name of a file."""
        return {
            "vignettes": self.vignettes.digest,
            "train": None if self.train is None else self.train.digest,
            "arms": [[a.name, a.strategy, a.n, a.families, list(a.models)] for a in arms],
            "repeats": self.repeats,
            "seed": self.seed,
            "source": self.source,
        }

    def digest(self, arms: Sequence[Arm]) -> str:
        """Of all that is asked: 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_json(arms), sort_keys=True).encode()).hexdigest()


def submission_seed(seed: int, repeat: int) -> int:
    """The seed of one repeat, the same for all arms, so that they differ in nothing but the choice."""
    digest = hashlib.sha256(json.dumps([seed, "repeat", repeat]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def material(path: Path) -> Material:
    """The vignettes of a file. Raises `SettingsError` where it cannot be read."""
    try:
        return Material(str(path), path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None


def generated(count: int, seed: int) -> Material:
    """So many simulated vignettes with gold, made by the panel's generator in a process of its own."""
    command = [sys.executable, "-m", "panel.generate", "--count", str(count), "--seed", str(seed)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        last = made.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise SettingsError(f"panel.generate made no vignettes: {' '.join(last)}")
    return Material(f"{count} generated vignettes (simulated, seed {seed})", made.stdout)


@dataclass(frozen=True)
class Meta:
    """What a report says beside its figures."""

    evaluation: str  # first digits of its digest
    vignettes: int
    arms: tuple[str, ...]
    repeats: int
    seed: int
    accepted: int  # consultations of all arms; training apart
    ended: int
    paid_twice: int  # calls made although answered, or while another was open
    calls: int
    trained_on: int  # consultations that made the history; 0: the site's own snapshots, or none
    training: str | None  # as people know it
    overlap: int  # vignettes of the test that what chooses or calibrates had seen
    snapshots: Mapping[str, int | None]  # reviewers, chemistry, calibration: numbers; None: there is none
    simulated: bool | None  # whether the models are; None where nothing was answered

    @property
    def lost(self) -> int:
        """Accepted and not ended."""
        return self.accepted - self.ended


def _known(option: str, asked: Sequence[str], known: Sequence[str]) -> None:
    if not asked or any(name not in known for name in asked):
        raise SettingsError(f"{option} takes one or more of {', '.join(known)}, with commas")
    _once(option, asked)


def _once(option: str, asked: Sequence[object]) -> None:
    if len(set(asked)) != len(asked):
        raise SettingsError(f"{option} names one twice")
