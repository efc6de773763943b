"""The Markdown table, the JSON and the plots of a run."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from benchmarks.contestants import NODE_PACKAGES, PEERS, REQUIREMENTS, Contestant
from benchmarks.plots import bars
from benchmarks.rows import FLOOR, NODE, Row, rows
from benchmarks.run import Plan, Results

PACKAGES = (
    *("rtcio-sync", "python-socketio", "python-engineio", "gevent", "gevent-websocket"),
    *("gunicorn", "simple-websocket"),
)
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
}


def write(results: Results, plan: Plan, output: Path) -> str:
    """Writes ``benchmarks.json``, ``table.md`` and an SVG per scenario; returns the table."""
    lines = rows(results.medians())
    facts = about(results)
    text = table(lines, plan.contestants, facts, results.voids)
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(text + "\n")
    document = {
        "about": facts,
        "scale": dataclasses.asdict(plan.scale),
        "figures": [_figure(row, results) for row in lines],
        "void": results.voids,
    }
    (output / "benchmarks.json").write_text(json.dumps(document, indent=1) + "\n")
    for scenario, title in PLOTS.items():
        shown = [row for row in lines if row.scenario == scenario and row.unit != "times"]
        if shown:
            (output / f"{scenario}.svg").write_text(bars(title, shown, plan.contestants))
    return text


def table(
    lines: Iterable[Row],
    contestants: Iterable[Contestant],
    about: dict[str, object],
    voids: Iterable[str],
) -> str:
    """A row for each figure, a column for each server: median (times Node's / the floor's)."""
    columns = list(contestants)
    head = ["", "unit", *(contestant.title for contestant in columns)]
    body = [
        [row.title, row.unit, *(_cell(row, contestant.name) for contestant in columns)]
        for row in lines
    ]
    rule = ["---", "---", *("---:" for _ in columns)]
    text = [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
    text += ["", "In parentheses: times Node's / times the floor's. Less is better everywhere.", ""]
    text += [f"{key}: {value}  " for key, value in about.items()]
    text += [f"VOID: {void}  " for void in voids]
    return "\n".join(text)


def _cell(row: Row, server: str) -> str:
    if server not in row.values:
        return "-"
    ratios = [row.ratio(server, NODE), row.ratio(server, FLOOR)]
    if row.unit == "times" or not any(ratios):
        return number(row.values[server])
    shown = " / ".join(f"{ratio:.2f}" if ratio else "-" for ratio in ratios)
    return f"{number(row.values[server])} ({shown})"


def number(value: float) -> str:
    """The number with three significant digits, if it has as many."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _figure(row: Row, results: Results) -> dict[str, object]:
    return {
        "figure": row.figure,
        "title": row.title,
        "unit": row.unit,
        "median": row.values,
        "times_node": {name: row.ratio(name, NODE) for name in row.values},
        "times_floor": {name: row.ratio(name, FLOOR) for name in row.values},
        "turns": results.values.get(row.figure, {}),
    }


def about(results: Results | None = None, *, module: str = "benchmarks") -> dict[str, object]:
    """The date, the options and the machine of the measurement."""
    facts: dict[str, object] = {
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": " ".join([f"python -m {module}", *sys.argv[1:]]),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Versions": ", ".join(_versions()),
    }
    if results is not None:
        facts["Used by other processes meanwhile"] = f"{results.others:.0%} of the machine"
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    if NODE_PACKAGES.is_dir():
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        found.append(f"Node {node.stdout.strip()}")
    for package in ("socket.io", "socket.io-client", "bun", "@socket.io/bun-engine"):
        manifest = NODE_PACKAGES / package / "package.json"
        if manifest.exists():
            found.append(f"{package} {json.loads(manifest.read_text())['version']}")
    if PEERS.exists():
        lines = REQUIREMENTS.read_text().splitlines()
        asgi = (line.replace("==", " ") for line in lines if not line.startswith("#"))
        found.append(f"the ASGI servers with {', '.join(asgi)}")
    return found
