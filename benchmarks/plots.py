"""Charts in SVG, written by hand: no plotting library, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.contestants import Contestant
from benchmarks.rows import NODE, Row

LEFT, WIDTH, BAR, GAP = 250, 800, 15, 26
LONGEST = WIDTH - LEFT - 90
CUT_AT_NODES = 2.5  # a bar longer than so many of Node's is cut: else the short ones would vanish

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.row { font-weight: 600; }
.ours { fill: #0969da; } .node { fill: #bc4c00; } .plain { fill: #8c959f; } .bare { fill: #1a7f37; }
.cut { stroke: #ffffff; stroke-width: 2; }
.line { fill: none; stroke: #0969da; stroke-width: 1.5; }
.axis { stroke: #8c959f; stroke-width: 0.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ours { fill: #58a6ff; } .node { fill: #f0883e; } .plain { fill: #6e7681; }
  .bare { fill: #3fb950; }
  .cut { stroke: #0d1117; }
  .line { stroke: #58a6ff; }
}
"""


def bars(title: str, lines: Iterable[Row], contestants: Iterable[Contestant]) -> str:
    """One group of bars per row, one bar per server that has the figure."""
    columns = list(contestants)
    parts = [f'<text class="title" x="10" y="24">{escape(title)}</text>']
    top = 40
    for row in lines:
        top += GAP
        name = escape(f"{row.title} ({row.unit})")
        parts.append(f'<text class="row" x="10" y="{top - 8}">{name}</text>')
        longest = _longest(row)
        for contestant in columns:
            if contestant.name in row.values:
                parts.append(_bar(contestant, row.values[contestant.name], longest, top))
                top += BAR + 3
    return _page(title, parts, top + 14)


PANEL, LABELS = 90, 60  # pixels: a panel's height, the width of what stands beside it


def lines(title: str, seconds: Sequence[float], panels: Mapping[str, Sequence[float]]) -> str:
    """A panel for each figure over the same time; every one begins at zero."""
    parts = [f'<text class="title" x="10" y="24">{escape(title)}</text>']
    top, end = 40, max(seconds, default=0.0) or 1.0
    wide = WIDTH - LABELS - 20
    for name, values in panels.items():
        most = max(values, default=0.0) or 1.0
        base = top + 24 + PANEL
        points = " ".join(
            f"{LABELS + at / end * wide:.1f},{base - value / most * PANEL:.1f}"
            for at, value in zip(seconds, values, strict=True)
        )
        parts.append(f'<text class="row" x="{LABELS}" y="{top + 14}">{escape(name)}</text>')
        for value, y in ((most, base - PANEL), (0, base)):
            parts.append(
                f'<path class="axis" d="M{LABELS} {y} h{wide}"/>'
                f'<text x="{LABELS - 6}" y="{y + 4}" text-anchor="end">{value:.4g}</text>'
            )
        parts.append(f'<polyline class="line" points="{points}"/>')
        top = base + 16
    time = f"{end / 60:.3g} minutes" if end >= 120 else f"{end:.0f} seconds"
    parts.append(f'<text x="{WIDTH - 20}" y="{top + 4}" text-anchor="end">{time}</text>')
    return _page(title, parts, top + 16)


def _page(title: str, parts: Iterable[str], height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _longest(row: Row) -> float:
    most = max(row.values.values())
    return min(most, CUT_AT_NODES * row.values[NODE]) if NODE in row.values else most


def _bar(contestant: Contestant, value: float, longest: float, top: int) -> str:
    length = max(1.0, min(1.0, value / longest) * LONGEST)
    end, middle = LEFT + length, top + BAR - 4
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    label = escape(contestant.title.replace("`", ""))
    cut = ""
    if value > longest:
        x = end - 14
        cut = f'<path class="cut" d="M{x} {top + BAR} l6 -{BAR} m4 0 l-6 {BAR}"/>'
    return (
        f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{label}</text>'
        f'<rect class="{_kind(contestant)}" x="{LEFT}" y="{top}" width="{length:.1f}" '
        f'height="{BAR}"/>{cut}<text x="{end + 6:.1f}" y="{middle}">{shown}</text>'
    )


def _kind(contestant: Contestant) -> str:
    if contestant.ours:
        return "ours"
    return "bare" if contestant.bare else "node" if contestant.name == NODE else "plain"
