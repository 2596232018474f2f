"""`consilium demo`: the whole story in one command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from producers.demo.story import tell


def demo(
    vignettes: Annotated[Path, typer.Option(help="NDJSON with gold.")] = Path("examples/vignettes.ndjson"),
    seed: Annotated[int, typer.Option(help="Seed of the draws and of the simulated models.")] = 11,
    keep: Annotated[bool, typer.Option("--keep", help="Go on running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Twenty vignettes, three simulated models each, one worker killed on the way, twenty ends."""
    home = Path(os.environ.get("CONSILIUM_HOME", ".consilium")) / "demo"
    raise typer.Exit(tell(home, vignettes, seed=seed, keep=keep))
