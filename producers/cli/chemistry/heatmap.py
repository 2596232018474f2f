"""A heat map of signed numbers between models: in the terminal, and as one self-contained SVG file.

Diverging colours that the colour-blind can tell apart (blue below 0, orange above); each cell also holds its
number, so nothing depends on colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from rich.table import Table
from rich.text import Text

Cells = Mapping[tuple[str, str], float]

BELOW, NEAR, ABOVE = (33, 102, 172), (247, 247, 247), (224, 130, 20)
_CELL, _MARGIN, _LETTER = 34, 16, 6.6  # pixels; the last is a letter's width at 11 px


def colour(value: float, scale: float) -> tuple[int, int, int]:
    """Red, green, blue (0…255) of a value on −scale … +scale; beyond it is as at its end."""
    share = max(-1.0, min(1.0, value / scale)) if scale > 0 else 0.0
    end = ABOVE if share > 0 else BELOW
    red, green, blue = (round(n + abs(share) * (e - n)) for n, e in zip(NEAR, end, strict=True))
    return red, green, blue


def label(value: float) -> str:
    """Two decimals with a sign, at most five letters: +.12, −.03, 0, +1.0."""
    if abs(value) < 0.005:
        return "0"
    digits = f"{abs(value):.2f}"
    return ("+" if value > 0 else "−") + (digits[1:] if digits.startswith("0") else f"{abs(value):.1f}")


def terminal(names: Sequence[str], cells: Cells, *, scale: float) -> Table:
    """The map for a terminal: names as rows, their numbers as columns; `·` where nothing is known."""
    made = Table(box=None, padding=0, pad_edge=False, show_header=True)
    made.add_column("", no_wrap=True)
    for number in range(1, len(names) + 1):
        made.add_column(str(number), justify="center", no_wrap=True, min_width=5)
    for number, row in enumerate(names, start=1):
        made.add_row(f"{number:2} {row} ", *(_block(_at(cells, row, column), scale) for column in names))
    return made


def svg(names: Sequence[str], cells: Cells, *, scale: float, title: str, low: str, high: str) -> str:
    """The map as SVG text: title, legend from `low` (−scale) to `high` (+scale), a number in every cell.

    Columns carry the full names, turned upright, so labels never overlap however many models there are.
    """
    longest = max((len(name) for name in names), default=0) * _LETTER + 8
    left, top = _MARGIN + longest, 48 + longest
    side = _CELL * len(names)
    words = max(len(title) * 9, 200 + _LETTER * (len(low) + len(high)))
    width, height = max(left + side, _MARGIN + words) + _MARGIN, top + side + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="28" font-size="16" fill="#1a1a1a">{escape(title)}</text>',
    ]
    for place, name in enumerate(names):
        middle = _CELL * place + _CELL / 2 + 4
        x, y = left + middle, top - 6
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" transform="rotate(-90 {x:.1f} {y:.1f})">{escape(name)}</text>'
            f'<text x="{left - 6:.1f}" y="{top + middle:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            if i != j:
                value = _at(cells, row, column)
                parts.append(_cell(left + j * _CELL, top + i * _CELL, f"{row} and {column}", value, scale))
    parts += [_legend(_MARGIN, top + side + 24, scale, low, high), "</svg>"]
    return "\n".join(parts) + "\n"


def _at(cells: Cells, a: str, b: str) -> float | None:
    return cells.get((min(a, b), max(a, b))) if a != b else None


def _block(value: float | None, scale: float) -> Text:
    if value is None:
        return Text("·", style="dim")
    red, green, blue = colour(value, scale)
    return Text(f"{label(value):^5}", style=f"{_ink(red, green, blue)} on rgb({red},{green},{blue})")


def _ink(red: int, green: int, blue: int) -> str:
    """Black or white, whichever stands out more."""
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def _cell(x: float, y: float, pair: str, value: float | None, scale: float) -> str:
    words = "not known" if value is None else label(value)
    fill, ink = ("#ffffff", "#767676")
    if value is not None:
        rgb = colour(value, scale)
        fill, ink = "#{:02x}{:02x}{:02x}".format(*rgb), _ink(*rgb)
    return (
        f'<g><title>{escape(pair)}: {words}</title><rect x="{x:.1f}" y="{y:.1f}" '
        f'width="{_CELL - 1}" height="{_CELL - 1}" fill="{fill}" stroke="#d0d0d0" stroke-width="0.5"/>'
        f'<text x="{x + _CELL / 2:.1f}" y="{y + _CELL / 2 + 4:.1f}" text-anchor="middle" fill="{ink}">'
        f"{'·' if value is None else words}</text></g>"
    )


def _legend(x: float, y: float, scale: float, low: str, high: str) -> str:
    steps, wide = 21, 8
    start = x + len(low) * _LETTER + 8
    blocks = "".join(
        '<rect x="{:.1f}" y="{}" width="{}" height="14" fill="#{:02x}{:02x}{:02x}"/>'.format(
            start + i * wide, y, wide, *colour(scale * (2 * i / (steps - 1) - 1), scale)
        )
        for i in range(steps)
    )
    end = start + steps * wide + 8
    return (
        f'<text x="{x}" y="{y + 11}">{escape(low)}</text>{blocks}'
        f'<text x="{end:.1f}" y="{y + 11}">{escape(high)}</text>'
        f'<text x="{x}" y="{y + 30}" fill="#555555">'
        f"scale −{scale:.3g} … +{scale:.3g}; · not known</text>"
    )
