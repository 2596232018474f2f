"""What a report is: sentences, tables with units and the data of its plots. Not how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.statistics import Difference, Estimate

Cell = Estimate | Difference | float | int | str | None

UNKNOWN = "·"


@dataclass(frozen=True)
class Column:
    """A column's name, its unit ("" for none or for a share of 1) and the digits after the point."""

    name: str
    unit: str = ""
    digits: int = 2

    @property
    def head(self) -> str:
        return f"{self.name}, {self.unit}" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """Rows of cells, one for each column; the first column names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Point:
    """A figure with the ends of its 95 % interval (None: it has none)."""

    label: str
    value: float
    low: float | None
    high: float | None
    told: bool = False  # a finding: stands out


@dataclass(frozen=True)
class Intervals:
    """A dot with its interval for each label; with `zero` a forest plot of differences around that line."""

    title: str
    axis: str
    points: tuple[Point, ...]
    zero: float | None = None
    kind: str = "intervals"


@dataclass(frozen=True)
class Lines:
    """Series over N: name → (N, point)."""

    title: str
    axis: str
    across: str
    series: tuple[tuple[str, tuple[tuple[int, Point], ...]], ...]
    kind: str = "lines"


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: mean of what was stated, share that was right, how many."""

    stated: float
    right: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """Stated probability against the share that was right: series name → bins."""

    title: str
    across: str
    series: tuple[tuple[str, tuple[Bin, ...]], ...]
    axis: str = "share right"
    kind: str = "reliability"


@dataclass(frozen=True)
class Bars:
    """Stacked bars: label → one value a part, in the parts' order."""

    title: str
    axis: str
    parts: tuple[str, ...]
    bars: tuple[tuple[str, tuple[float, ...]], ...]
    kind: str = "bars"


@dataclass(frozen=True)
class Curve:
    """Two figures against each other: name → (x, point) in the order in which a line joins them.

    Each point bears its label (the dial that made it); a series of one is a mark to compare with.
    """

    title: str
    axis: str
    across: str
    series: tuple[tuple[str, tuple[tuple[float, Point], ...]], ...]
    kind: str = "curve"


Plot = Intervals | Lines | Reliability | Bars | Curve


@dataclass(frozen=True)
class Report:
    """One named report: its findings in words, its tables and what its plots draw."""

    name: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


def shown(cell: Cell, column: Column) -> str:
    """A cell in words. None is a dot, an estimate has its interval in brackets, a difference its sign."""
    if cell is None:
        return UNKNOWN
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _number(cell, column.digits)
    if cell.value is None:
        return UNKNOWN
    sign = isinstance(cell, Difference)
    value = _number(cell.value, column.digits, sign)
    if cell.low is None or cell.high is None:
        return value
    return f"{value} [{_number(cell.low, column.digits, sign)}, {_number(cell.high, column.digits, sign)}]"


def _number(value: float, digits: int, sign: bool = False) -> str:
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def points(named: Sequence[tuple[str, Estimate | Difference]]) -> tuple[Point, ...]:
    """Those figures that can be told, as points of a plot."""
    return tuple(Point(name, e.value, e.low, e.high) for name, e in named if e.value is not None)
