"""`consilium medications rules`: the safety rules in force, or what is wrong with a site's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producers.cli.common import Format, emit
from shared.safety.rules import KINDS, Knowledge, builtin, load


def rules(
    file: Annotated[
        Path | None,
        typer.Argument(help="A site's rule file (CSV): checked, and counted with the built-in ones."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """Count the safety rules by kind, with version and digest. A bad file: each bad line, exit code 2."""
    ours, now = builtin(), load(file)
    rows = [{"kind": kind, **_counts(kind, ours, now)} for kind in KINDS]
    emit([{**row, "version": now.version, "digest": now.digest} for row in rows], format_)


def _counts(kind: str, ours: Knowledge, now: Knowledge) -> dict[str, int]:
    """Rules of a kind in force, and what the site's file did to the built-in ones."""
    before, after = ({rule.id: rule for rule in k.rules if rule.kind == kind} for k in (ours, now))
    return {
        "rules": len(after),
        "added": len(after.keys() - before.keys()),
        "replaced": sum(after[name] != before[name] for name in after.keys() & before.keys()),
        "off": len(before.keys() - after.keys()),
    }
