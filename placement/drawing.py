"""A plan as a picture: for a terminal, and as an SVG document. Plain strings; colours only in the SVG.

Boxes are stages in the order in which a hidden state passes them, lines are hops; a bar in each box is its share of the
time, and the busiest part is marked.
"""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from placement.figures import Figures, HopFigures, StageFigures
from placement.profiles import HOST
from placement.wording import duration, size

_BAR = 24


def draw_text(figures: Figures) -> str:
    """Stages under one another, about 70 columns wide."""
    rows = [_stage_cells(each, figures) for each in figures.stages]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [HOST]
    for hop, row, stage in zip(figures.hops, rows, figures.stages, strict=False):
        inside = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines += [_hop_line(hop), f"┌{'─' * (len(inside) + 2)}┐"]
        lines += [f"│ {inside} │" + _mark(stage, figures), f"└{'─' * (len(inside) + 2)}┘"]
    return "\n".join([*lines, _hop_line(figures.hops[-1]), HOST])


def _hop_line(hop: HopFigures) -> str:
    return f"  │ {duration(hop.token_seconds)}"


def _stage_cells(each: StageFigures, figures: Figures) -> tuple[str, ...]:
    stage, guess = each.stage, "" if each.measured else "~"
    share = each.token_seconds / figures.token_seconds if figures.token_seconds else 0.0
    return (
        f"{stage.device.name}/{stage.engine}@{stage.precision}",
        f"{stage.first}-{stage.last}",
        guess + duration(each.token_seconds),
        ("█" * max(1, round(share * _BAR))).ljust(_BAR),
        f"{size(each.memory_bytes)} of {size(each.usable_bytes)}",
    )


def _mark(stage: StageFigures, figures: Figures) -> str:
    return " <- busiest" if stage is _busiest(figures) and len(figures.stages) > 1 else ""


def _busiest(figures: Figures) -> StageFigures:
    return max(figures.stages, key=lambda each: each.load_seconds)


_BOX, _HEIGHT, _GAP, _MARGIN, _A_ROW = 200, 118, 84, 24, 4
_FILL = {"cpu": "#dbe9f6", "gpu": "#dff0d8", "npu": "#fbe5d0"}
_INK, _QUIET, _ALARM = "#1b1f24", "#57606a", "#b42318"


def draw_svg(figures: Figures, title: str = "Plan") -> str:
    """One SVG document: four stages a row, each with its blocks, its time of one token, and bars of load and memory."""
    count = len(figures.stages)
    rows = -(-count // _A_ROW)
    across = min(count, _A_ROW)
    width = 2 * _MARGIN + (across + 1) * _GAP + across * _BOX
    height = 2 * _MARGIN + 44 + rows * (_HEIGHT + 34) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{_attribute(title)}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _words(_MARGIN, _MARGIN + 14, title, 16, _INK, weight="bold"),
        _words(_MARGIN, _MARGIN + 34, _summary(figures), 12, _QUIET),
    ]
    for index, each in enumerate(figures.stages):
        parts += _draw_hop(figures.hops[index], *_place(index))
        parts += _draw_stage(each, figures, *_place(index))
    x, y = _place(count - 1)
    parts += _draw_hop(figures.hops[-1], x + _BOX + _GAP, y)
    parts.append(_words(_MARGIN, height - 14, f"busiest: {figures.bottleneck}", 12, _ALARM))
    return "\n".join([*parts, "</svg>\n"])


def _summary(figures: Figures) -> str:
    return (
        f"first token {duration(figures.first_token_seconds)}, then {duration(figures.token_seconds)} a token;"
        f" {figures.tokens_per_second:.4g} tokens/s at full traffic; within {figures.relative_error:.0%}"
    )


def _place(index: int) -> tuple[int, int]:
    row, column = divmod(index, _A_ROW)
    return _MARGIN + _GAP + column * (_BOX + _GAP), _MARGIN + 54 + row * (_HEIGHT + 34)


def _draw_hop(hop: HopFigures, x: int, y: int) -> Iterator[str]:
    """An arrow that ends at the left edge `x` of a box in the row at `y`, with what the hop takes and its far end."""
    middle, start = y + _HEIGHT // 2, x - _GAP + 6
    yield f'<line x1="{start}" y1="{middle}" x2="{x - 12}" y2="{middle}" stroke="{_QUIET}" stroke-width="1.5"/>'
    yield f'<path d="M {x - 12} {middle - 5} L {x - 3} {middle} L {x - 12} {middle + 5} Z" fill="{_QUIET}"/>'
    yield _words(x - _GAP // 2 - 2, middle - 8, duration(hop.token_seconds), 11, _QUIET, anchor="middle")
    if HOST in (hop.source, hop.target):
        says = f"from {HOST}" if hop.source == HOST else f"to {HOST}"
        yield _words(x - _GAP // 2 - 2, middle + 18, says, 11, _QUIET, anchor="middle")


def _draw_stage(each: StageFigures, figures: Figures, x: int, y: int) -> Iterator[str]:
    stage, busiest = each.stage, each is _busiest(figures)
    edge = _ALARM if busiest and len(figures.stages) > 1 else _QUIET
    yield (
        f'<rect x="{x}" y="{y}" width="{_BOX}" height="{_HEIGHT}" rx="6" fill="{_FILL[stage.device.kind]}"'
        f' stroke="{edge}" stroke-width="{2 if edge == _ALARM else 1}"/>'
    )
    emulated = " (emulated)" if stage.device.emulated else ""
    yield _words(x + 10, y + 20, _short(stage.device.name + emulated, 24), 14, _INK, weight="bold")
    yield _words(x + 10, y + 37, _short(f"{stage.engine}, {stage.precision}", 32), 11, _QUIET)
    guess = "" if each.measured else "about "
    yield _words(x + 10, y + 56, f"blocks {stage.first}-{stage.last}: {guess}{duration(each.token_seconds)}", 12, _INK)
    loads = max(s.load_seconds for s in figures.stages)
    yield from _bar(x + 10, y + 66, each.load_seconds / loads if loads else 0.0, edge, "load")
    used = each.memory_bytes / each.usable_bytes if each.usable_bytes else 0.0
    yield from _bar(x + 10, y + 84, used, _QUIET, "memory")
    yield _words(x + 10, y + 109, f"{size(each.memory_bytes)} of {size(each.usable_bytes)}", 11, _QUIET)


def _bar(x: int, y: int, share: float, fill: str, name: str) -> Iterator[str]:
    full = _BOX - 74
    yield _words(x, y + 9, name, 11, _QUIET)
    yield f'<rect x="{x + 54}" y="{y}" width="{full}" height="10" rx="2" fill="#ffffff" stroke="{_QUIET}"/>'
    width = full * min(max(share, 0.0), 1.0)
    yield f'<rect x="{x + 54}" y="{y}" width="{width:.1f}" height="10" rx="2" fill="{fill}"/>'


def _words(x: int, y: int, text: str, points: int, fill: str, *, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{points}" fill="{fill}" font-weight="{weight}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
