"""Small drawings as SVG text, without a library: what a plot's data say, with axes, units and a title.

Colours are Okabe and Ito's (distinguishable for colour-blind readers); series differ by shape too. Text and
lines take the page's colour, so that a dark page stays readable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from producers.evaluation.reports.model import Bars, Curve, Intervals, Lines, Plot, Point, Reliability

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
WIDTH = 760
ROW = 26
TOP, BOTTOM, RIGHT = 14, 46, 24
SQUARE = 340


def svg(plot: Plot) -> str:
    """The drawing. Its title is a text alternative too; labels are escaped."""
    if isinstance(plot, Intervals):
        return _intervals(plot)
    if isinstance(plot, Lines):
        return _lines(plot)
    if isinstance(plot, Reliability):
        return _reliability(plot)
    if isinstance(plot, Curve):
        return _curve(plot)
    return _bars(plot)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about so many, evenly apart."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw * 0.999)
    return [
        round(k * step, 10) for k in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    ]


class _Scale:
    """A stretch of values on a stretch of pixels, with round ticks."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        known = list(values) or [0.0]
        self.ticks = ticks(min(known), max(known))
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def _figure(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="scroll">'
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        f'style="min-width:{min(width, 560):.0f}px">{"".join(parts)}</svg></div></figure>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


GRID = 'class="grid"'


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _across(x: _Scale, top: float, bottom: float, axis: str) -> list[str]:
    parts = [_line(x(t), top, x(t), bottom, GRID) for t in x.ticks]
    parts += [_text(x(t), bottom + 16, _number(t), "middle") for t in x.ticks]
    return [*parts, _text((x.start + x.end) / 2, bottom + 36, axis, "middle", ' class="axis"')]


def _upward(y: _Scale, left: float, right: float, axis: str) -> list[str]:
    parts = [_line(left, y(t), right, y(t), GRID) for t in y.ticks]
    parts += [_text(left - 8, y(t) + 4, _number(t), "end") for t in y.ticks]
    middle = (y.start + y.end) / 2
    turned = f' class="axis" transform="rotate(-90 16 {middle:.1f})"'
    return [*parts, _text(16, middle, axis, "middle", turned)]


def _wide(text: str) -> float:
    """Room for a text of 13 px in a wide sans-serif; capitals are wider."""
    return sum(10.0 if letter.isupper() else 7.6 for letter in text)


def _margin(labels: Iterable[str]) -> float:
    return 16 + max(map(_wide, labels), default=0)


def _ends(points: Iterable[Point]) -> list[float]:
    return [e for p in points for e in (p.value, p.low, p.high) if e is not None]


def _intervals(plot: Intervals) -> str:
    left, bottom = _margin(p.label for p in plot.points), TOP + ROW * max(1, len(plot.points))
    width = max(WIDTH, left + 340 + RIGHT)
    zero = [] if plot.zero is None else [plot.zero]
    x = _Scale([*_ends(plot.points), *zero], left, width - RIGHT)
    parts = _across(x, TOP, bottom, plot.axis)
    if plot.zero is not None:
        parts.append(_line(x(plot.zero), TOP, x(plot.zero), bottom, 'class="zero"'))
    for place, point in enumerate(plot.points):
        y = TOP + ROW * (place + 0.5)
        colour = COLOURS[1] if point.told else COLOURS[0]
        parts.append(_text(left - 10, y + 4, point.label, "end"))
        parts += _whisker(x, y, point, colour)
        parts.append(f'<circle cx="{x(point.value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
    return _figure(plot.title, width, bottom + BOTTOM, parts)


def _whisker(x: _Scale, y: float, point: Point, colour: str) -> list[str]:
    if point.low is None or point.high is None:
        return []
    style = f'stroke="{colour}" stroke-width="2"'
    low, high = x(point.low), x(point.high)
    return [
        _line(low, y, high, y, style),
        _line(low, y - 4, low, y + 4, style),
        _line(high, y - 4, high, y + 4, style),
    ]


def _legend(names: Sequence[str], left: float, y: float) -> list[str]:
    """Names with their colour and shape, in as many lines as they need."""
    parts: list[str] = []
    at = left
    for place, name in enumerate(names):
        wide = 34 + _wide(name)
        if at + wide > WIDTH and at > left:
            at, y = left, y + 20
        parts.append(_mark(place, at + 6, y - 4))
        parts.append(_text(at + 18, y, name))
        at += wide
    return parts


def _legend_height(names: Sequence[str], left: float) -> float:
    """Of the lines that the legend takes, px."""
    at, lines = left, 1
    for name in names:
        wide = 34 + _wide(name)
        if at + wide > WIDTH and at > left:
            at, lines = left, lines + 1
        at += wide
    return 20.0 * lines


def _mark(place: int, x: float, y: float) -> str:
    """A dot, square, triangle or diamond, so that colour is not alone in telling series apart."""
    colour = COLOURS[place % len(COLOURS)]
    if place % 4 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    if place % 4 == 1:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'
    corners = [(0, -5.5), (5, 4), (-5, 4)] if place % 4 == 2 else [(0, -6), (6, 0), (0, 6), (-6, 0)]
    shape = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{shape}" fill="{colour}"/>'


def _lines(plot: Lines) -> str:
    names = [name for name, _ in plot.series]
    top = TOP + _legend_height(names, 64)
    bottom = top + 260
    sizes = sorted({n for _, line in plot.series for n, _ in line}) or [0]
    y = _Scale(_ends(p for _, line in plot.series for _, p in line), bottom, top)
    left, right = 64.0, WIDTH - RIGHT
    step = (right - left) / len(sizes)
    parts = [*_legend(names, left, TOP + 6), *_upward(y, left, right, plot.axis)]
    for place, n in enumerate(sizes):
        parts.append(_text(left + step * (place + 0.5), bottom + 16, str(n), "middle"))
    parts.append(_text((left + right) / 2, bottom + 36, plot.across, "middle", ' class="axis"'))
    for k, (_, line) in enumerate(plot.series):
        colour = COLOURS[k % len(COLOURS)]
        beside = (k - (len(names) - 1) / 2) * min(
            10, step * 0.5 / len(names)
        )  # intervals do not hide each other
        at = [(left + step * (sizes.index(n) + 0.5) + beside, point) for n, point in line]
        path = " ".join(f"{x:.1f},{y(p.value):.1f}" for x, p in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, point in at:
            if point.low is not None and point.high is not None:
                parts.append(_line(x, y(point.low), x, y(point.high), f'stroke="{colour}" opacity=".6"'))
            parts.append(_mark(k, x, y(point.value)))
    return _figure(plot.title, WIDTH, bottom + BOTTOM, parts)


def _reliability(plot: Reliability) -> str:
    names = [name for name, _ in plot.series]
    left, top = 64.0, TOP + _legend_height([*names, "perfect"], 64)
    x, y = _Scale((0.0, 1.0), left, left + SQUARE), _Scale((0.0, 1.0), top + SQUARE, top)
    parts = [
        *_legend(names, left, TOP + 6),
        *_across(x, top, top + SQUARE, plot.across),
        *_upward(y, left, left + SQUARE, plot.axis),
        _line(x(0), y(0), x(1), y(1), 'class="zero"'),
        _text(x(0.98), y(0.03), "dashed: stated = right", "end"),
    ]
    for k, (_, line) in enumerate(plot.series):
        path = " ".join(f"{x(b.stated):.1f},{y(b.right):.1f}" for b in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[k]}" stroke-width="1.5"/>')
        parts += [_mark(k, x(b.stated), y(b.right)) for b in line]
    return _figure(plot.title, left + SQUARE + RIGHT, top + SQUARE + BOTTOM, parts)


def _curve(plot: Curve) -> str:
    names = [name for name, _ in plot.series]
    left, top = 64.0, TOP + _legend_height(names, 64)
    right, bottom = WIDTH - RIGHT, top + 300
    x = _Scale([at for _, line in plot.series for at, _ in line], left, right)
    y = _Scale(_ends(p for _, line in plot.series for _, p in line), bottom, top)
    parts = [
        *_legend(names, left, TOP + 6),
        *_across(x, top, bottom, plot.across),
        *_upward(y, left, right, plot.axis),
    ]
    for k, (_, line) in enumerate(plot.series):
        colour = COLOURS[k % len(COLOURS)]
        path = " ".join(f"{x(at):.1f},{y(p.value):.1f}" for at, p in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for at, point in line:
            if point.low is not None and point.high is not None:
                style = f'stroke="{colour}" opacity=".5"'
                parts.append(_line(x(at), y(point.low), x(at), y(point.high), style))
            parts.append(_mark(k, x(at), y(point.value)))
            if len(line) > 1:  # to the left at the right end: labels stay on the sheet
                beside, anchor = (-8, "end") if x(at) > (left + right) / 2 else (8, "start")
                parts.append(_text(x(at) + beside, y(point.value) - 8, point.label, anchor))
    return _figure(plot.title, WIDTH, bottom + BOTTOM, parts)


def _bars(plot: Bars) -> str:
    left = _margin(name for name, _ in plot.bars)
    top = TOP + 24
    bottom = top + ROW * max(1, len(plot.bars))
    x = _Scale((0.0, *(sum(values) for _, values in plot.bars)), left, WIDTH - RIGHT)
    parts = [*_legend(plot.parts, left, TOP + 6), *_across(x, top, bottom, plot.axis)]
    for place, (name, values) in enumerate(plot.bars):
        y, at = top + ROW * place + 5, 0.0
        parts.append(_text(left - 10, y + 12, name, "end"))
        for k, value in enumerate(values):
            parts.append(
                f'<rect x="{x(at):.1f}" y="{y:.1f}" width="{x(at + value) - x(at):.1f}" height="{ROW - 10}" '
                f'fill="{COLOURS[k % len(COLOURS)]}"/>'
            )
            at += value
    return _figure(plot.title, WIDTH, bottom + BOTTOM, parts)
