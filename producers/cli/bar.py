"""How much of the input is read: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from producers.cli.common import err

SAY_EVERY_S = 10.0


class Bar:
    """Of `size` bytes; None where that is not known (a pipe)."""

    def __init__(self, size: int | None) -> None:
        self._size, self._read, self._said = size, 0, time.monotonic()
        columns = (
            TextColumn("reading"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal, transient=True)
        self._task = self._progress.add_task("", total=None if size is None else max(size, 1))

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on(self, read: int) -> None:
        """So many bytes more are read."""
        self._read += read
        if err.is_terminal:
            self._progress.advance(self._task, read)
        elif time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            if self._size is None:
                err.print(f"{self._read / 1e6:.0f} MB read", highlight=False)
            else:
                err.print(f"{100 * self._read // max(self._size, 1)} % read", highlight=False)
