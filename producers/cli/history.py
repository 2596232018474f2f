"""`consilium history`: history from elsewhere in, history out in the same public columns."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from db.queries import history_export, imports
from db.queries.history import chosen
from db.queries.imports import Imported
from producers.cli.acts import audit
from producers.cli.bar import Bar
from producers.cli.common import EXIT_SET_ASIDE, Format, database, emit, err, out, vault
from producers.readers.history_csv import file_digest, read_history
from shared.errors import SettingsError
from shared.history import COLUMNS

app = typer.Typer(help="Stored history: import, list, export.", no_args_is_help=True)

SHOWN = 20
"""Rows that were set aside and are listed after an import."""
LONGEST_ORIGIN = 100

AsFormat = Annotated[Format, typer.Option("--format")]


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV in the public columns, gzip or not.")],
    origin: Annotated[
        str | None, typer.Option(help="Whose history it is. Default: the file's name without suffix.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of task of all rows. Default: made from each task's text.")
    ] = None,
    format_: AsFormat = Format.table,
) -> None:
    """Add files of history, purpose `imported`. What is known already adds nothing."""
    if kind is not None and (kind != imports.kind_of(kind)):
        raise SettingsError("--kind is at most 60 of a-z, 0-9, - and /, such as medication/general")
    done = [(path, _import(path, origin or _origin_of(path), kind)) for path in files]
    if format_ is not Format.table:
        emit([_as_row(path, found) for path, found in done], format_)
    else:
        for path, found in done:
            _tell(path, found)
    if any(found.set_aside for _, found in done):
        raise typer.Exit(EXIT_SET_ASIDE)


def _import(path: Path, origin: str, kind: str | None) -> Imported:
    if not 1 <= len(origin) <= LONGEST_ORIGIN:
        raise SettingsError(f"--origin has 1 to {LONGEST_ORIGIN} characters")
    digest, size = file_digest(path)
    with database() as session:
        found = imports.known(session, digest)
        if found is None:
            with Bar(size) as bar:
                found = imports.add(session, origin, digest, read_history(path, progress=bar.on), kind=kind)
            if not found.before:
                audit(session, "history.import", f"{found.import_id} {found.added} rows")
    return found


def _tell(path: Path, found: Imported) -> None:
    if found.before:
        out.print(f"{path}: imported before (origin {found.origin}): nothing to add", highlight=False)
        return
    kinds = ", ".join(f"{kind} ({rows})" for kind, rows in found.kinds.items()) or "none"
    out.print(
        f"{path}: origin {found.origin}\n  kinds: {kinds}\n  {found.added} rows added, {found.known} known "
        f"before, {found.set_aside} set aside",
        highlight=False,
    )
    if found.set_aside:
        with database() as session:
            for bad in imports.bad_rows(session, found.import_id, most=SHOWN):
                out.print(f"  line {bad['line']}: {bad['reason']}", highlight=False, markup=False)
        if found.set_aside > SHOWN:
            out.print(f"  and {found.set_aside - SHOWN} more: consilium history set-aside", highlight=False)


def _as_row(path: Path, found: Imported) -> dict[str, object]:
    return {
        "file": str(path),
        "import_id": str(found.import_id),
        "origin": found.origin,
        "kinds": found.kinds,
        "added": found.added,
        "known": found.known,
        "set_aside": found.set_aside,
        "imported_before": found.before,
    }


@app.command("list")
def list_(format_: AsFormat = Format.table) -> None:
    """All imports."""
    with database() as session:
        found = imports.imports(session)
    rows = [{**row, "imported_at": f"{row['imported_at']:%Y-%m-%d %H:%M}Z"} for row in found]
    if not rows and format_ is Format.table:
        out.print("nothing was imported\nnext: consilium history import FILE")
        return
    emit(rows, format_)


@app.command("set-aside")
def set_aside(format_: AsFormat = Format.table) -> None:
    """All rows that were set aside, with line and reason."""
    with database() as session:
        found = imports.bad_rows(session)
    if not found and format_ is Format.table:
        out.print("no rows are set aside")
        return
    emit(found, format_)


@app.command("export")
def export(
    file: Annotated[str, typer.Argument(help="Where to; - is standard output.")],
    purposes: Annotated[
        str, typer.Option(help="By comma: care, evaluation, training, demo, imported, imported:ORIGIN.")
    ] = "care",
    format_: AsFormat = Format.csv,
    with_results: Annotated[
        bool, typer.Option("--with-results", help="Open the sealed answers of own consultations; audited.")
    ] = False,
) -> None:
    """Write history in the public columns. `accuracy` is computed; no text is kept of imported rows."""
    if format_ is not Format.csv:
        raise SettingsError("--format is csv: history has one form")
    words = [word.strip() for word in purposes.split(",") if word.strip()]
    own, origins, _ = chosen(words)
    with database() as session:
        known = imports.origins(session)
    for origin in origins:
        if origin not in known:
            raise SettingsError(
                f"no history of origin {origin!r}: there are {', '.join(known) or 'none yet'}"
            )
    opened = vault() if with_results else None
    if opened:
        with database() as session:  # before any text is opened, and kept whatever comes after
            audit(session, "history.export", f"with results: {','.join(own)}")
    if with_results and len(own) < len(words):
        err.print("results of imported rows are not kept: that column is empty there", style="yellow")
    written = 0
    with database() as session, _target(file) as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in history_export.rows(session, words, opened):
            writer.writerow(row)
            written += 1
    err.print(f"{written} rows written", highlight=False)


@contextmanager
def _target(file: str) -> Iterator[IO[str]]:
    """Standard output, or a file that is there whole or not at all, for its owner alone."""
    if file == "-":
        yield sys.stdout
        return
    part = Path(f"{file}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as stream:
                yield stream
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from None


def _origin_of(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".csv"):
        name = name.removesuffix(suffix)
    return name
