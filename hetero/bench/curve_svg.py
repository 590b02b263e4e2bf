"""Draws lines of points as an SVG, by hand: axes, ticks, a legend. Knows numbers and colours."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT, _TOP = 720, 440, 70, 60, 170, 24
_COLOURS = ("#1f5fa8", "#7fb0de", "#b5502f", "#8a8a8a", "#2c8a4b")

Line = Sequence[tuple[float, float]]


def draw_lines(lines: Mapping[str, Line], x_title: str, y_title: str) -> str:
    """An SVG document with one polyline a name; a line of a single point is a dot."""
    points = [point for line in lines.values() for point in line]
    x_low, x_high = 0.0, max(x for x, _ in points)
    y_low, y_high = _round_bounds(min(y for _, y in points), max(y for _, y in points))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        across = (x - x_low) / (x_high - x_low or 1) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - y_low) / (y_high - y_low or 1) * (_HEIGHT - _TOP - _BOTTOM)
        return _LEFT + across, _HEIGHT - _BOTTOM - up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif"'
        ' font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for x in range(int(x_high) + 1):
        parts.append(_text(place((x, y_low)), str(x), dy=18))
    for step in range(6):
        y = y_low + (y_high - y_low) * step / 5
        at = place((x_low, y))
        parts.append(f'<line x1="{at[0]}" y1="{at[1]:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at[1]:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(at, f"{y:.3f}", dx=-26, dy=4))
    parts += _titles(x_title, y_title)
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(name, [place(point) for point in sorted(line)], number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _round_bounds(low: float, high: float) -> tuple[float, float]:
    return (low // 0.05) * 0.05, -(-high // 0.05) * 0.05


def _text(at: tuple[float, float], text: str, dx: float = 0, dy: float = 0) -> str:
    return f'<text x="{at[0] + dx:.1f}" y="{at[1] + dy:.1f}" text-anchor="middle">{escape(text)}</text>'


def _titles(x_title: str, y_title: str) -> list[str]:
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    across = (_LEFT + _WIDTH - _RIGHT) / 2
    return [
        _text((across, _HEIGHT - 16), x_title),
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>',
    ]


def _line(name: str, points: Sequence[tuple[float, float]], number: int) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    at = (_WIDTH - _RIGHT + 16, _TOP + 16 + 20 * number)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points),
        f'<rect x="{at[0]}" y="{at[1] - 9}" width="12" height="10" fill="{colour}"/>'
        f'<text x="{at[0] + 18}" y="{at[1]}">{escape(name)}</text>',
    ]
