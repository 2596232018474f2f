"""Page, plots and terminal of an evaluation: self-contained, well-formed, narrow enough."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from producers.evaluation.page import page, write
from producers.evaluation.plots import COLOURS, svg, ticks
from producers.evaluation.reports import build, names
from producers.evaluation.reports.model import Bars, Curve, Intervals, Lines, Point, Reliability
from producers.evaluation.terminal import WIDTH, print_reports
from tests.producers.evaluation.synthetic import arm, meta, study, usual_arms

ROWS = study([*usual_arms(), arm("CHEMISTRY", 2), arm("RANDOM", 4, "same"), arm("RANDOM", 4, "mixed")])
REPORTS = build(names("all"), ROWS, meta(ROWS))


def test_the_page_asks_nothing_of_anybody_and_runs_no_script(tmp_path: Path) -> None:
    """No address outside, no script, no style from elsewhere; and what a sceptic asks first is on it."""
    write(tmp_path / "page.html", REPORTS, meta(ROWS), "consilium evaluate --seed 1")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", text)
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)
    assert "simulated models" in text
    assert "overlap 0" in text
    assert f"accepted {len(ROWS):,}; ended {len(ROWS):,}; lost 0" in text
    assert "not distinguishable" in text
    assert "consilium evaluate --seed 1" in text
    assert "F1 against severity over λ" in text
    assert "$" not in text


def test_leakage_real_models_and_missing_consultations_are_written_large() -> None:
    """What is not as it should be is not said in small print."""
    text = page(REPORTS, meta(ROWS, overlap=3, accepted=len(ROWS) - 5, simulated=False), "x")
    assert "3: LEAKAGE" in text
    assert "the evaluation is not whole" in text
    assert "real models" in text
    assert '<span class="sim">' not in text


def test_text_on_the_page_is_escaped() -> None:
    """A name with markup stays a name."""
    rows = study([arm("RANDOM", name="<b>RANDOM</b>")], vignettes=3)
    text = page(build(["paper"], rows, meta(rows)), meta(rows), "a < b & c")
    assert "<b>" not in text
    assert "&lt;b&gt;RANDOM" in text
    assert "a &lt; b &amp; c" in text


def test_every_drawing_is_well_formed_and_stays_on_its_sheet() -> None:
    """Each of the five kinds, also without a point: valid XML, nothing drawn outside the view."""
    point = Point("a & b", 0.2, -0.4, 0.9)
    plots = [
        *(plot for report in REPORTS for plot in report.plots),
        Intervals("t", "axis", (), zero=0.0),
        Intervals("t", "axis", (point, Point("alone", 3.0, None, None)), zero=0.0),
        Lines("t", "axis", "N", ()),
        Reliability("t", "stated", ()),
        Bars("t", "s", ("x",), ()),
        Curve("t", "a", "x", ()),
        Curve("t", "a", "x", (("s", ((0.3, point),)),)),
    ]
    for plot in plots:
        figure = ET.fromstring(svg(plot))
        sheet = figure.find(".//svg")
        assert sheet is not None
        _, _, width, height = (float(part) for part in sheet.attrib["viewBox"].split())
        for mark in sheet.iter():
            for name, value in mark.attrib.items():
                if name in ("x", "x1", "x2", "cx"):
                    assert -0.5 <= float(value) <= width + 0.5, plot.title
                if name in ("y", "y1", "y2", "cy"):
                    assert -0.5 <= float(value) <= height + 0.5, plot.title


def test_an_interval_is_drawn_where_its_numbers_are() -> None:
    """Two dots: their distance on the sheet is in the ratio of their values to the ticks."""
    drawn = svg(Intervals("t", "axis", (Point("a", 0.25, 0.0, 1.0), Point("b", 0.75, 0.0, 1.0))))
    left, right = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn))
    low, high = (float(x) for x in re.findall(r'<line x1="([\d.]+)"[^>]*class="grid"', drawn)[::5])
    assert abs((right - left) / (high - low) - 0.5) < 0.005


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0, 1e4))
def test_ticks_hold_what_is_drawn(low: float, size: float) -> None:
    """Round, rising, from at or below the least value to at or above the largest; not many."""
    found = ticks(low, low + size)
    assert found == sorted(set(found))
    assert 2 <= len(found) <= 9
    slack = 1e-6 * max(1.0, abs(low), size)
    assert found[0] <= low + slack
    assert found[-1] >= low + size - slack


def test_the_terminal_needs_a_hundred_columns_and_loses_no_figure() -> None:
    """No line is wider; wide tables come in parts that repeat their first column."""
    said = io.StringIO()
    print_reports(REPORTS, Console(file=said, width=140))
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    quality = REPORTS[0].tables[0]
    assert sum(line.startswith("PERFORMANCE n=3 ") and "[" in line for line in lines) > 2
    text = said.getvalue()
    for report in REPORTS:
        for table in report.tables:
            assert table.title in text
    assert all(column.head.split()[0] in text for column in quality.columns)


def test_only_adjusted_findings_stand_out_in_a_forest_plot() -> None:
    """An interval without 0 that the adjustment does not bear out has the colour of the others."""
    finding, none = Point("a", 0.5, 0.4, 0.6, told=True), Point("a", 0.5, 0.4, 0.6)
    assert COLOURS[1] in svg(Intervals("t", "axis", (finding,), zero=0.0))
    assert COLOURS[1] not in svg(Intervals("t", "axis", (none,), zero=0.0))
    drawn = [
        (point.told, cells[3] in ("higher", "lower"))
        for report in REPORTS
        for plot in report.plots
        if isinstance(plot, Intervals) and plot.zero is not None
        for point in plot.points
        for table in report.tables
        for cells in table.rows
        if str(cells[0]).removesuffix(" (primary)") == point.label
    ]
    assert drawn
    assert all(told == said for told, said in drawn)
