# SPDX-License-Identifier: GPL-2.0-or-later
"""A dot plot as SVG: a row of dots for each cell, one dot per contender, by its ratio."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8a8a00",
           "#444444", "#a05a2c"]
SHAPES = ["circle", "square", "diamond", "triangle"]
ROW, LEFT, RIGHT, TOP = 34, 150, 30, 74
PLOT = 760
FONT = "font-family='Helvetica, Arial, sans-serif'"


@dataclass
class Plot:
    """`rows`: cell to {contender: ratio}; more is better, 1 is drawn as a line."""

    title: str
    subtitle: str
    rows: dict[str, dict[str, float]]


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "start",
          colour: str = "#222") -> str:
    return (f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' "
            f"fill='{colour}' {FONT}>{escape(text)}</text>")


def _mark(x: float, y: float, series: int, title: str) -> str:
    colour = COLOURS[series % len(COLOURS)]
    shape = SHAPES[series // len(COLOURS) % len(SHAPES)]
    style = f"fill='{colour}' fill-opacity='0.85' stroke='white' stroke-width='1'"
    tip = f"<title>{escape(title)}</title>"
    if shape == "circle":
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5.5' {style}>{tip}</circle>"
    corners = {"square": [(-5, -5), (5, -5), (5, 5), (-5, 5)],
               "diamond": [(0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0)],
               "triangle": [(0, -6), (6, 5), (-6, 5)]}[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f"<polygon points='{points}' {style}>{tip}</polygon>"


def _step(low: float, high: float) -> float:
    return next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
                if (high - low) / s <= 14 or s == 10.0)


def _axis(low: float, high: float, bottom: float, place) -> list[str]:
    step, out = _step(low, high), []
    for i in range(round(low / step), round(high / step) + 1):
        value = i * step
        x = place(value)
        if not LEFT <= x <= LEFT + PLOT:
            continue
        one = abs(value - 1) < 1e-9
        out.append(f"<line x1='{x:.1f}' y1='{TOP - 8}' x2='{x:.1f}' y2='{bottom:.1f}' "
                   f"stroke='{'#222' if one else '#ddd'}' stroke-width='{1.5 if one else 1}'/>")
        out.append(_text(x, TOP - 14, f"{value:.2f}", 11, "middle", "#222" if one else "#777"))
    return out


def _legend(names: list[str], y: float) -> tuple[list[str], float]:
    columns = 3
    width = (LEFT + PLOT + RIGHT - 40) / columns
    out = []
    for i, name in enumerate(names):
        x = 24 + i % columns * width
        out.append(_mark(x, y + i // columns * 20, i, name))
        out.append(_text(x + 12, y + 4 + i // columns * 20, name))
    return out, y + (len(names) + columns - 1) // columns * 20


def _rows(plot: Plot, names: list[str], place) -> list[str]:
    out = []
    for i, (cell, ratios) in enumerate(plot.rows.items()):
        y = TOP + ROW * i + ROW / 2
        if i % 2 == 0:
            out.append(f"<rect x='0' y='{y - ROW / 2}' width='{LEFT + PLOT + RIGHT}' "
                       f"height='{ROW}' fill='#f6f6f6'/>")
        out.append(_text(LEFT - 14, y + 4, cell, 13, "end"))
    for i, ratios in enumerate(plot.rows.values()):
        y = TOP + ROW * i + ROW / 2
        present = [n for n in names if n in ratios]
        for j, name in enumerate(present):
            # Dots that would cover each other lie at different heights.
            offset = (j / max(1, len(present) - 1) - 0.5) * (ROW - 16)
            out.append(_mark(place(ratios[name]), y + offset, names.index(name),
                             f"{name}: {ratios[name]:.3f}"))
    return out


def draw(plot: Plot) -> tuple[str, float]:
    """The plot as an SVG group, and its height."""
    names = list(dict.fromkeys(n for ratios in plot.rows.values() for n in ratios))
    values = [v for ratios in plot.rows.values() for v in ratios.values()] + [1.0]
    low, high = min(values) - 0.03, max(values) + 0.03

    def place(value: float) -> float:
        return LEFT + (value - low) / (high - low) * PLOT

    bottom = TOP + ROW * len(plot.rows)
    rows = _rows(plot, names, place)
    legend, end = _legend(names, bottom + 26)
    # The stripes first, then the axis over them, then the dots.
    stripes = [r for r in rows if r.startswith("<rect")]
    parts = [_text(24, 26, plot.title, 17), _text(24, 46, plot.subtitle, 12, colour="#666"),
             *stripes, *_axis(low, high, bottom, place),
             *(r for r in rows if not r.startswith("<rect")), *legend]
    return "\n".join(parts), end + 16


def document(plots: list[Plot]) -> str:
    """All plots below each other."""
    out, y = [], 0.0
    for plot in plots:
        body, height = draw(plot)
        out.append(f"<g transform='translate(0,{y:.0f})'>\n{body}\n</g>")
        y += height
    width = LEFT + PLOT + RIGHT
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{y:.0f}' "
            f"viewBox='0 0 {width} {y:.0f}'>\n<rect width='100%' height='100%' fill='white'/>\n"
            + "\n".join(out) + "\n</svg>\n")
