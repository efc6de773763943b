"""Rounds: every scenario on every server, the servers in turn, so that drift hits all alike."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accounting import cpu_ns, machine_seconds
from benchmarks.contestants import HERE, Contestant, Server
from benchmarks.scenarios import SCENARIOS, Scale

DESCRIPTOR_RESERVE = 1000
FIGURES = (*SCENARIOS, "limit")


@dataclass
class Results:
    """Values by figure and server, one per round; and which rounds were void, and why.

    ``others``: the share of the machine that neither a server nor its load has used. Where it is
    large, the figures are of a machine that was busy.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    voids: list[str] = field(default_factory=list)
    others: float = 0.0
    own_seconds: float = 0.0

    def add(self, server: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.values.setdefault(figure, {}).setdefault(server, []).append(value)

    def medians(self) -> dict[str, dict[str, float]]:
        return {
            figure: {server: statistics.median(rounds) for server, rounds in servers.items()}
            for figure, servers in self.values.items()
        }


@dataclass(frozen=True)
class Plan:
    """What one run measures."""

    contestants: tuple[Contestant, ...]
    figures: tuple[str, ...]
    rounds: int
    scale: Scale
    scratch: Path


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """Runs the plan; ``say`` gets a line per step. Void rounds are recorded, the run goes on."""
    plan.scratch.mkdir(parents=True, exist_ok=True)
    results = Results()
    busy, whole = machine_seconds()
    for figure in plan.figures:
        for number in range(1 if figure == "limit" else plan.rounds):
            say(f"{figure}, round {number + 1}")
            racing = [c for c in plan.contestants if figure not in c.skips]
            if figure == "idle":
                _idle_round(racing, plan, results, say)
                continue
            for contestant in racing:
                with _Slot(contestant, figure, plan) as slot:
                    slot.report(results, say)
    busy, whole = (now - then for now, then in zip(machine_seconds(), (busy, whole), strict=True))
    results.others = max(0.0, busy - results.own_seconds - time.process_time()) / whole
    return results


def _idle_round(
    racing: Iterable[Contestant], plan: Plan, results: Results, say: Callable[[str], None]
) -> None:
    """All servers at once, on whatever core: first each gets its connections, then all idle."""
    slots: list[_Slot] = []
    try:
        for contestant in racing:
            slots.append(_Slot(contestant, "idle", plan))
        for slot in slots:
            slot.await_ready()
        for slot in slots:
            slot.go()
        for slot in slots:
            slot.report(results, say)
    finally:
        for slot in slots:
            slot.stop()


class _Slot:
    """A server and its load, each on its core."""

    def __init__(self, contestant: Contestant, figure: str, plan: Plan) -> None:
        cores = sorted(os.sched_getaffinity(0))
        server_core, load_core = cores[:2] if len(cores) > 1 and figure != "idle" else (None, None)
        self.contestant = contestant
        self.figure = figure
        self.server = Server(contestant, plan.scratch / f"{contestant.name}.log", server_core)
        self.load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.driver"],
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line = ""
        task = {
            "scenario": "idle" if figure == "limit" else figure,
            "scale": dataclasses.asdict(_scale_for(contestant, figure, plan.scale)),
            "port": self.server.port,
            "pid": self.server.pid,
            "bare": contestant.bare,
            "core": load_core,
        }
        self._write(json.dumps(task))

    def __enter__(self) -> _Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def await_ready(self) -> None:
        """Until the load has opened what it opens, or has ended before."""
        self._line = self._read()

    def go(self) -> None:
        if self._line == "ready":
            self._write("go")
            self._line = ""

    def report(self, results: Results, say: Callable[[str], None]) -> None:
        name = self.contestant.name
        line = self._line or self._read()
        answer = json.loads(line) if line else {"void": f"the load ended: {self.server.tail()}"}
        results.own_seconds += (answer.get("cpu_ns", 0) + cpu_ns(self.server.pid)) / 1e9
        if "figures" in answer:
            results.add(name, answer["figures"])
            shown = ", ".join(f"{key} {value:.4g}" for key, value in answer["figures"].items())
            say(f"  {name}: {shown}")
        else:
            results.voids.append(f"{self.figure} on {name}: {answer['void']}")
            say(f"  {name}: VOID, {answer['void']}\n{self.server.tail()}")

    def stop(self) -> None:
        self.server.stop()
        self.load.kill()
        self.load.communicate()

    def _write(self, line: str) -> None:
        assert self.load.stdin is not None
        self.load.stdin.write(line + "\n")
        self.load.stdin.flush()

    def _read(self) -> str:
        assert self.load.stdout is not None
        return self.load.stdout.readline().strip()


def _scale_for(contestant: Contestant, figure: str, scale: Scale) -> Scale:
    if figure == "limit":
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - DESCRIPTOR_RESERVE
        return dataclasses.replace(scale, memory=(most,), idle_seconds=0.0)
    if not contestant.doubles:
        return dataclasses.replace(scale, disconnects=scale.disconnects[:1])
    return scale
