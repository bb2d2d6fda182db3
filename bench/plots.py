"""How a cost grows, drawn as an SVG that is read on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 44, 56
NEAREST = 15
"""Pixels between two names at the right, so that none lies on another."""

# Told apart by those who do not tell red from green, too; and by their dashes.
LIGHT = ("#0060a8", "#b34700", "#00735a", "#8e3a86")
DARK = ("#6cb8f0", "#f5a35c", "#4fd1ad", "#e19bd9")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
STEPS = (1, 2, 2.5, 5, 10)

Points = Sequence[tuple[float, float]]


def draw(*, title: str, x: str, y: str, lines: Mapping[str, Points], bars: Mapping[str, float]) -> str:
    """The plot of these lines by their names.

    ``bars`` are levels by their names. The horizontal axis is logarithmic, with a mark at each measured point.
    """
    marks = sorted({point[0] for points in lines.values() for point in points})
    levels = _levels(max([*bars.values(), *(point[1] for points in lines.values() for point in points)]))
    low, high = math.log(marks[0]), math.log(marks[-1])

    def across(value: float) -> float:
        return LEFT + (math.log(value) - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - value / levels[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style(len(lines))}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
    ]
    for level in levels:
        at = up(level)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="mark" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{level:,g}</text>')
    below = f'y="{HEIGHT - BOTTOM + 18}" text-anchor="middle"'
    parts += [f'<text class="mark" x="{across(mark):.1f}" {below}>{mark:,.0f}</text>' for mark in marks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="mark" x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x)}</text>')
    turned = f'transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)"'
    parts.append(f'<text class="mark" {turned} text-anchor="middle">{escape(y)}</text>')
    names: list[tuple[float, str, str]] = []
    for said, level in bars.items():
        parts.append(f'<line class="bar" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(level):.1f}" y2="{up(level):.1f}"/>')
        names.append((up(level), "mark", said))
    for number, (said, points) in enumerate(lines.items()):
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="line l{number}" points="{path}"/>')
        parts += [f'<circle class="dot d{number}" cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>' for a, b in points]
        names.append((up(points[-1][1]), f"name n{number}", said))
    last = -math.inf
    for at, kind, said in sorted(names):
        last = max(at + 4, last + NEAREST)
        parts.append(f'<text class="{kind}" x="{WIDTH - RIGHT + 10}" y="{last:.1f}">{escape(said)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _levels(highest: float) -> list[float]:
    """Round numbers from nothing to above the highest."""
    size = 10 ** math.floor(math.log10(highest / 5))
    step = next(step * size for step in STEPS if step * size * 6 >= highest)
    return [number * step for number in range(math.floor(highest / step) + 2)]


def _style(count: int) -> str:
    def colours(ground: str, ink: str, grid: str, palette: Sequence[str]) -> str:
        each = "".join(
            f".l{number}{{stroke:{palette[number]}}}.d{number},.n{number}{{fill:{palette[number]}}}"
            for number in range(count)
        )
        return f".ground{{fill:{ground}}}text{{fill:{ink}}}.grid{{stroke:{grid}}}.bar{{stroke:{ink}}}{each}"

    dashes = "".join(f".l{number}{{stroke-dasharray:{DASHES[number] or 'none'}}}" for number in range(count))
    return (
        "text{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.name{font-weight:600}"
        f".line{{fill:none;stroke-width:2}}.bar{{stroke-dasharray:4 4}}{dashes}"
        f"{colours('#ffffff', '#1f2328', '#d8dee4', LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{colours('#0d1117', '#e6edf3', '#30363d', DARK)}}}"
    )
