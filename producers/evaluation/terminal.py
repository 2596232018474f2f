"""Reports for a terminal: at most 100 columns; wide tables in parts that repeat their first column."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from producers.evaluation.chart import chart
from producers.evaluation.reports.model import Curve, Report, Table, shown

WIDTH = 100
GAP = 2
WIDEST = 44  # of one column; longer cells are folded


def print_reports(reports: Sequence[Report], console: Console | None = None) -> None:
    """Report by report: findings, tables, curves. Without a console: to standard output."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDTH)
    width = min(WIDTH, console.width)
    for report in reports:
        console.print(Text(f"\n{report.title}", "bold underline"), width=width)
        for sentence in report.sentences:
            console.print(Text(f"• {sentence}"), width=width)
        for table in report.tables:
            console.print(Text(f"\n{table.title}", "bold"), width=width)
            for place, part in enumerate(parts(table, width)):
                console.print(*([""] if place else []), part, width=width)
            if table.note:
                console.print(Text(table.note, "dim"), width=width)
        for plot in report.plots:
            if isinstance(plot, Curve):
                console.print(Text("\n" + "\n".join(chart(plot))), width=width)


def parts(table: Table, width: int = WIDTH) -> list[RichTable]:
    """The table in as many parts as its columns need, each at most `width` wide."""
    cells = [
        [shown(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    wide = [
        min(WIDEST, max([*(len(row[k]) for row in cells), *(len(word) for word in column.head.split())]))
        for k, column in enumerate(table.columns)
    ]
    groups: list[list[int]] = [[]]
    room = width - wide[0]
    for k in range(1, len(wide)):
        if groups[-1] and room < GAP + wide[k]:
            groups.append([])
            room = width - wide[0]
        groups[-1].append(k)
        room -= GAP + wide[k]
    return [_part(table, cells, wide, [0, *group]) for group in groups]


def _part(table: Table, cells: list[list[str]], wide: list[int], columns: list[int]) -> RichTable:
    made = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for k in columns:
        made.add_column(Text(table.columns[k].head), min_width=wide[k], max_width=wide[k], overflow="fold")
    for row in cells:
        made.add_row(*(Text(row[k], "bold" if row[k] in ("higher", "lower") else "") for k in columns))
    return made
