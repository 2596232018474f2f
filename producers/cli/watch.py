"""`consilium watch`: live progress of a submission, or of all that are open."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from db.queries.events import CHANNEL
from db.queries.progress import ModelCalls, batches, open_submissions
from producers.cli.acts import source_named
from producers.cli.common import EXIT_SET_ASIDE, Away, NotFound, database, err, listening, out
from producers.cli.progress_view import last, line, view
from producers.progress import Progress, look
from shared.errors import SettingsError
from shared.settings import get_settings

LIVE_S, LINE_S = 2.0, 15.0
"""Seconds between two looks without an event, and between two lines where there is no terminal."""
AWAY_S = 300.0
"""So long the database may be away; afterwards watching ends, the work does not."""
EXIT_INTERRUPTED = 130
_EVENTS_S = 0.25  # events come in bursts: one look answers all of so many seconds
_EASY = 10  # looking takes at most a tenth of the time
_AWAY = "PostgreSQL cannot be reached; waiting for it. Work in flight goes on as far as it can."

Ids = Callable[[], set[uuid.UUID]]


class Watched(StrEnum):
    """How `watch` prints: for people, or an object a line."""

    table = "table"
    json = "json"


def watch(
    submission: Annotated[
        uuid.UUID | None, typer.Argument(help="One submission; none: all that are open.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="All that are open of one source.")] = None,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds between looks without an event (2); piped: between lines (15)."),
    ] = None,
    format_: Annotated[Watched, typer.Option("--format")] = Watched.table,
) -> None:
    """Live progress until all has ended: stages, rate, cost, estimated end, what is held or failed and why.

    On a terminal a view that follows the events; elsewhere a line now and then, and one at the end. Ctrl-C
    ends the watching, never the work. Exit codes: 0 all ended; 6 so, and some records were set aside; 7 the
    database stayed away; 8 there is no such submission or source; 130 Ctrl-C.
    """
    if submission is not None and source is not None:
        raise SettingsError("a SUBMISSION has one source: give one of SUBMISSION and --source")
    ended = follow(only(submission) if submission else all_open(source), every_s=every, format_=format_)
    if not ended.batches and format_ is Watched.table:
        out.print("nothing is open: consilium submit examples/vignettes.ndjson, or consilium status")
    if ended.set_aside:
        raise typer.Exit(EXIT_SET_ASIDE)


def only(submission: uuid.UUID) -> Ids:
    """This one. Raises `NotFound`."""
    with database() as session:
        if not batches(session, [submission]):
            raise NotFound(f"no submission {submission}: see `consilium status`")
    return lambda: {submission}


def all_open(source: str | None = None) -> Ids:
    """Those that are open, of all sources or of one, and those that ever were when it was asked: their ends
    are counted too. Raises `NotFound`."""
    seen: set[uuid.UUID] = set()
    source_id = None
    if source is not None:
        with database() as session:
            source_id = source_named(session, source).id

    def ids() -> set[uuid.UUID]:
        with database() as session:
            seen.update(open_submissions(session, source_id))
        return seen

    return ids


def follow(
    ids: Ids, *, every_s: float | None = None, format_: Watched = Watched.table, console: Console = out
) -> Progress:
    """Show the submissions' progress until they have finished; how it was then.

    A live view where `console` is a terminal, else lines. Raises `Away` if the database is away at the start,
    or for `AWAY_S` later; at Ctrl-C says that work goes on, and raises `typer.Exit(130)`.
    """
    on_terminal = console.is_terminal and format_ is Watched.table
    every_s = every_s or (LIVE_S if on_terminal else LINE_S)
    show = _Live(console) if on_terminal else _Lines(console, every_s, format_)
    found: Progress | None = None
    try:
        with show:
            for found in _looks(_Eye(ids), min(every_s, LIVE_S)):
                show.now(found)
    except KeyboardInterrupt:
        err.print("no longer watching; the work goes on: consilium status")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    assert found is not None  # it has finished
    show.end(found)
    return found


class _Eye:
    """Looks; counts the calls, the long part of it, only as often as is easy for the database."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._calls: Sequence[ModelCalls] = ()
        self._due = 0.0
        self._stale_s = get_settings().heartbeat_stale_s

    def __call__(self) -> Progress:
        """Progress now. Raises `Away`."""
        began, ids = time.monotonic(), self._ids()
        with database() as session:
            if began < self._due:
                found = look(session, ids, self._calls, stale_s=self._stale_s)
                if not found.finished:
                    return found
            found = look(session, ids, stale_s=self._stale_s)
        now = time.monotonic()
        self._calls, self._due = found.calls, now + _EASY * (now - began)
        return found


def _looks(eye: _Eye, every_s: float) -> Iterator[Progress | None]:
    """Progress at once, after events and every so many seconds, until it has finished; None: PostgreSQL is
    away. Raises `Away` where it is at the first look, or stays away for `AWAY_S`."""
    seen_at: float | None = None
    while True:
        try:
            with listening(CHANNEL) as connection:
                while True:
                    began = time.monotonic()
                    found = eye()
                    seen_at = time.monotonic()
                    yield found
                    if found.finished:
                        return
                    for _event in connection.notifies(timeout=every_s, stop_after=1):
                        time.sleep(max(_EVENTS_S, _EASY * (seen_at - began)))
                    for _more in connection.notifies(timeout=0):
                        pass
        except Away:
            if seen_at is None or time.monotonic() - seen_at > AWAY_S:
                raise
            yield None
            time.sleep(1)


class _Live:
    """The view of a terminal, in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._last: Progress | None = None

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def now(self, found: Progress | None) -> None:
        self._last = found or self._last
        if self._last is not None and self._last.batches:
            self._live.update(view(self._last, "" if found else _AWAY), refresh=True)

    def end(self, found: Progress) -> None:
        """The view stands as it was last."""


class _Lines:
    """A line at once, then every so many seconds, and at each tenth of the work; one at the end."""

    def __init__(self, console: Console, every_s: float, format_: Watched) -> None:
        self._console, self._every_s, self._format = console, every_s, format_
        self._said_at, self._tenth, self._away = float("-inf"), 0, False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def now(self, found: Progress | None) -> None:
        if found is None:
            if not self._away:
                err.print(_AWAY, style="yellow")
            self._away = True
            return
        if self._away:
            err.print("PostgreSQL is back")
            self._away = False
        tenth = int(10 * found.share)
        late = time.monotonic() - self._said_at >= self._every_s
        if not found.finished and (late or tenth > self._tenth):
            self._say(found, line(found))
            self._said_at, self._tenth = time.monotonic(), tenth

    def end(self, found: Progress) -> None:
        if found.batches or self._format is Watched.json:
            self._say(found, last(found))

    def _say(self, found: Progress, said: str) -> None:
        if self._format is Watched.json:
            print(json.dumps(found.for_programs(), default=str), flush=True)
        else:
            self._console.print(said, highlight=False, markup=False)
