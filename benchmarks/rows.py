"""The rows of the table: the name and the unit of each figure, in order. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

NODE, FLOOR = "node", "floor"
Values = dict[str, dict[str, list[float]]]  # of each turn, by figure and server
Medians = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of every server that has it."""

    figure: str
    title: str
    unit: str
    values: dict[str, float]

    @property
    def plot(self) -> str:
        """The name of the picture that shows it."""
        kind, _, what = self.figure.partition("-")
        if kind == "hosts" and not what.partition("-")[0].isdigit():
            return ""  # too many
        return "memory" if kind == "limit" else kind

    def ratio(self, server: str, to: str) -> float | None:
        """The ratio to the other's value; None if one is missing, or for itself."""
        if server == to or server not in self.values or not self.values.get(to):
            return None
        return self.values[server] / self.values[to]


def medians(values: Values) -> Medians:
    return {
        figure: {server: statistics.median(turns) for server, turns in servers.items()}
        for figure, servers in values.items()
    }


def scenario_of(figure: str) -> str:
    """What `--figures` calls it."""
    scenario = figure.partition("-")[0]
    return "idle" if scenario == "memory" else scenario


def rows(medians: Medians) -> list[Row]:
    """A row for each figure, and rows that follow from two figures."""
    found = []
    for figure in _ordered(medians):
        values = medians[figure]
        title, unit = describe(figure)
        found.append(Row(figure, title, unit, values))
    return found + _growth(medians)


def _ordered(figures: Iterable[str]) -> list[str]:
    """Those of several hosts by what is measured, not by the number of hosts."""
    kinds: dict[str, list[str]] = {}
    for figure in figures:
        kind = figure.rpartition("-")[0] if figure.startswith("hosts-") else figure
        kinds.setdefault(kind, []).append(figure)
    return [figure for same in kinds.values() for figure in same]


def describe(figure: str) -> tuple[str, str]:
    scenario, *rest = figure.split("-")
    if scenario == "relay":
        pairs, window = rest[1].split("x")
        who = "1 pair" if pairs == "1" else f"{pairs} pairs"
        return f"relay, {_bytes(int(rest[0]))}, {who} with {window} in flight", "µs CPU"
    if scenario == "latency":
        return f"relay latency at {int(rest[0]):,}/s, {rest[1]}", "µs"
    if scenario == "fanout":
        return f"fan-out to a room of {rest[0]}, per recipient", "µs CPU"
    if scenario == "call":
        how = "default transports" if rest[0] == "default" else "WebSocket alone"
        return f"a participant's call; {how}", "µs CPU"
    if scenario in ("connect", "cold"):
        how = "WebSocket" if rest[0] == "websocket" else "polling, then upgrade"
        what = "connect, join, close" if scenario == "connect" else "connect to a cold server"
        return f"{what}; {how}", "µs CPU"
    if scenario == "disconnect":
        return f"{int(rest[0]):,} disconnects from rooms of 4", "ms CPU"
    if scenario == "recovery":
        return _of_recovery(*rest)
    if scenario == "storm":
        return _of_storm(*rest)
    if scenario == "hosts":
        return _of_hosts(*rest)
    if scenario in ("workers", "redis", "handover", "death"):
        return _of_workers(scenario, *rest)
    if figure == "memory-base":
        return "memory of the process without connections", "MB"
    if scenario in ("memory", "limit"):
        return f"memory per idle connection at {int(rest[0]):,}", "kB"
    if rest[0] == "ping":
        return "idle, CPU per ping answered", "µs CPU"
    return f"idle, {int(rest[1]):,} connections, default ping interval", "ms CPU/s"


def _of_recovery(kind: str, count: str, stage: str) -> tuple[str, str]:
    sessions = f"{int(count):,} sessions"
    if kind == "memory":
        when = {"before": "before their loss", "away": "while away", "after": "after their return"}
        return f"memory per session, {sessions} {when[stage]}", "kB"
    if stage == "emit":
        return f"an event for some of {sessions} that are away", "µs CPU"
    what = {"both": "lost and recovered", "loss": "lost", "return": "recovered"}[stage]
    return f"{sessions} {what} at once, per session", "µs CPU"


def _of_workers(scenario: str, what: str, count: str = "") -> tuple[str, str]:
    if scenario == "death":
        which = {"median": "median", "longest": "longest"}[what]
        return f"a worker is killed, until its clients' peers hear of it, {which}", "ms"
    if scenario == "handover":
        return f"a polling request on a new connection; workers: {what}", "µs CPU"
    if what == "memory":
        return f"memory of each of {count} workers without connections", "MB"
    way = "processes over Redis" if scenario == "redis" else "workers"
    return f"relay, {_bytes(int(what))}, between two of {count} {way}", "µs CPU"


def _of_hosts(what: str, count: str) -> tuple[str, str]:
    who = f"{count} hosts"
    if what in ("idle", "idleredis"):
        of = "each host with its share of Redis" if what == "idle" else "Redis for each host"
        return f"{who} that do nothing, {of}", "ms CPU/s"
    part = next((part for part in ("redis", "others", "p50") if what.endswith(part)), "")
    kind = what.removesuffix(part)
    names = {
        "steady": "relay at 500/s, 300 B",
        "spread": "relay at 500/s, 300 B, from all to all",
        "event": "event to a room at two hosts",
        "join": "a join of a room",
    }
    name = names.get(kind) or f"relay, {_bytes(int(kind))}"
    if part == "p50":
        return f"{name}, {who}, latency p50", "µs"
    of = {"": "", "redis": ", of it Redis", "others": ", each of the other hosts"}[part]
    return f"{name}, {who}{of}", "µs CPU"


def _of_storm(count: str, what: str) -> tuple[str, str]:
    who = f"{int(count):,} clients within 2 s"
    if what == "joined":
        return f"{who}, until all have joined", "s"
    if what == "cpu":
        return f"{who}, each", "µs CPU"
    which = {"p99": "p99", "most": "longest"}[what]
    return f"{who}, relay latency of others, {which}", "µs"


def _bytes(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size / 1024:.0f} kB"


def _growth(medians: Medians) -> list[Row]:
    """The cost of twice as many disconnects: 2 if the cost of one does not depend on the rest."""
    counts = sorted(int(figure.split("-")[1]) for figure in medians if "disconnect" in figure)
    found = []
    for less in counts:
        if 2 * less in counts:
            low, high = medians[f"disconnect-{less}"], medians[f"disconnect-{2 * less}"]
            both = {server: high[server] / low[server] for server in low if server in high}
            title = f"{2 * less:,} disconnects in terms of {less:,}"
            found.append(Row(f"disconnect-growth-{less}", title, "times", both))
    return found
