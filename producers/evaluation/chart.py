"""A curve as characters, for a terminal: which dial lies where, read by its label in the table beside it."""

from __future__ import annotations

from collections.abc import Iterator

from producers.evaluation.plots import ticks
from producers.evaluation.reports.model import Curve

COLUMNS, ROWS = 72, 16
MARKS = "●■▲◆○□△◇"


def chart(plot: Curve) -> Iterator[str]:
    """Lines of at most 100 columns: title, drawing with both axes, legend. Without a point: nothing."""
    points = [(at, point) for _, line in plot.series for at, point in line]
    if not points:
        return
    across, upward = ticks(*_span([at for at, _ in points])), ticks(*_span([p.value for _, p in points]))
    grid = [[" "] * COLUMNS for _ in range(ROWS)]

    def place(at: float, value: float) -> tuple[int, int]:
        column = (at - across[0]) / (across[-1] - across[0]) * (COLUMNS - 1)
        row = (upward[-1] - value) / (upward[-1] - upward[0]) * (ROWS - 1)
        return round(row), round(column)

    for k, (_, line) in reversed(list(enumerate(plot.series))):  # the first series lies on top
        for at, point in line:
            row, column = place(at, point.value)
            if len(line) > 1:
                _write(grid[row], column, point.label)
            grid[row][column] = MARKS[k % len(MARKS)]
    yield plot.title
    yield f"{plot.axis}"
    marked = {place(across[0], value)[0]: f"{value:g}" for value in upward}
    for row, cells in enumerate(grid):
        yield f"{marked.get(row, ''):>8} ┤{''.join(cells).rstrip()}"
    below = [" "] * (COLUMNS + 8)
    for value in across:
        _write(below, place(value, upward[0])[1] - 1, f"{value:g}")
    yield " " * 9 + "└" + "─" * COLUMNS
    yield " " * 10 + "".join(below).rstrip()
    yield " " * 10 + plot.across
    yield " " * 10 + "  ".join(f"{MARKS[k % len(MARKS)]} {name}" for k, (name, _) in enumerate(plot.series))


def _span(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _write(cells: list[str], column: int, text: str) -> None:
    """Beside the column where there is room on that side and nothing is written yet."""
    right, left = column + 1, column - len(text)
    for start in (right, left):
        if (
            start >= 0
            and start + len(text) <= len(cells)
            and not "".join(cells[start : start + len(text)]).strip()
        ):
            cells[start : start + len(text)] = text
            return
