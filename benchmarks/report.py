"""The Markdown table and the plots of measured figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.document import Document, Facts
from benchmarks.plots import bars
from benchmarks.rows import FLOOR, NODE, Row

PLOTS = {
    "call": "Server CPU of one participant's call",
    "relay": "Server CPU per relayed message",
    "latency": "Relay latency",
    "fanout": "Server CPU per recipient of a room event",
    "connect": "Server CPU per connection on a warm server",
    "cold": "Server CPU per connect on a cold server",
    "disconnect": "Server CPU of disconnects from rooms of 4",
    "recovery": "Sessions lost at once and recovered",
    "memory": "Memory per idle connection",
    "idle": "CPU of idle connections",
    "workers": "Server CPU per message between two workers",
    "redis": "Server CPU per message between two processes over Redis",
    "handover": "Server CPU per polling request",
    "hosts": "CPU of several hosts and their Redis",
}
#: Of the README.
ROWS = (
    *("call-default", "connect-websocket", "relay-300-20x1"),
    *("fanout-8", "memory-5000", "idle-cpu-5000", "workers-300-4"),
)
SERVERS = ("listen", "gunicorn", "node", "bun", "uvicorn")
GUIDE = "docs/cost.md"
FIGURES, HOSTS = "figures", "hosts"  # the tables, as the guide marks them
UNPLOTTED = ("times", "MB")
RATIOS = "In parentheses: times Node's / times the floor's. Less is better everywhere."


def write(document: Document, output: Path) -> None:
    """Writes ``benchmarks.json``, ``table.md`` and an SVG per scenario."""
    output.mkdir(parents=True, exist_ok=True)
    document.write(output)
    (output / "table.md").write_text(page(document) + "\n")
    lines = document.rows()
    for name, title in PLOTS.items():
        shown = [row for row in lines if row.plot == name and row.unit not in UNPLOTTED]
        if shown:
            (output / f"{name}.svg").write_text(bars(title, shown, columns(lines)))


def write_into_documents(document: Document, root: Path) -> None:
    """Replaces the tables of the README and of the guide."""
    lines = document.rows()
    fill(root / "README.md", FIGURES, excerpt(lines))
    for name, text in tables(lines).items():
        fill(root / GUIDE, name, text)


def fill(page: Path, name: str, text: str) -> None:
    """Replaces what is between the page's marks of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def excerpt(lines: Iterable[Row]) -> str:
    """The rows of the README: median (times Node's)."""
    servers = [CONTESTANTS[name] for name in SERVERS]
    head = ["", "unit", *(server.title for server in servers)]
    body = [
        [row.title, row.unit, *(_cell(row, server.name, NODE) for server in servers)]
        for row in lines
        if row.figure in ROWS
    ]
    return _markdown(head, body)


def page(document: Document) -> str:
    """The table with all rows, and its notes."""
    lines = document.rows()
    text = ["\n\n".join(tables(lines).values()), "", RATIOS, "", *_notes(document.runs)]
    return "\n".join(text).rstrip("\n")


def tables(lines: Iterable[Row]) -> dict[str, str]:
    """All rows, without those of several hosts; and these, in which other servers take part."""
    parts: dict[str, list[Row]] = {}
    for row in lines:
        parts.setdefault(HOSTS if row.figure.startswith("hosts-") else FIGURES, []).append(row)
    return {name: table(rows, columns(rows)) for name, rows in parts.items()}


def columns(lines: Iterable[Row]) -> list[Contestant]:
    """The servers that have a figure, without those of another tree."""
    measured = {name for row in lines for name in row.values}
    return [each for each in CONTESTANTS.values() if each.name in measured]


def table(lines: Iterable[Row], contestants: Iterable[Contestant]) -> str:
    """A row for each figure, a column for each server: median (times Node's / the floor's)."""
    servers = list(contestants)
    head = ["", "unit", *(contestant.title for contestant in servers)]
    body = [
        [row.title, row.unit, *(_cell(row, contestant.name, NODE, FLOOR) for contestant in servers)]
        for row in lines
    ]
    return _markdown(head, body)


def _markdown(head: list[str], body: Iterable[list[str]]) -> str:
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _notes(runs: Iterable[Facts]) -> Iterator[str]:
    """A paragraph for each run: the figures that are still its own, and what is new about it."""
    said: dict[str, object] = {}
    for run in runs:
        yield f"Figures: {', '.join(run['figures'])}  "
        for key, value in run["about"].items():
            if said.get(key) != value:
                yield f"{key}: {value}  "
        said.update(run["about"])
        yield from (f"VOID: {void}  " for void in run["void"])
        yield ""


def _cell(row: Row, server: str, *others: str) -> str:
    if server not in row.values:
        return "-"
    ratios = [row.ratio(server, other) for other in others]
    if row.unit == "times" or not any(ratios):
        return number(row.values[server])
    shown = " / ".join(f"{ratio:.2f}" if ratio else "-" for ratio in ratios)
    return f"{number(row.values[server])} ({shown})"


def number(value: float) -> str:
    """The number with three significant digits, if it has as many."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
