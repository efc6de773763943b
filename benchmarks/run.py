"""Rounds: every scenario on every server, each round with new processes."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.accounting import cpu_ns, machine_seconds
from benchmarks.contestants import HERE, USERS, Contestant, Server, with_hosts, with_workers
from benchmarks.rows import Values
from benchmarks.scenarios import SCENARIOS
from benchmarks.subject import Scale

DESCRIPTOR_RESERVE = 1000
FIGURES = tuple(SCENARIOS)
#: The figures of several workers, and how many of them: one race after the other.
WORKERS = {"workers": (2, 4, 8), "redis": (2, 4, 8), "handover": (1, 4), "death": (4,)}
#: The figures of several hosts, and how many of them.
HOSTS = {"hosts": (2, 8, 16)}
#: The load sleeps, or what is measured is time: servers and load run on any core.
ANY_CORE = ("idle", "death")


@dataclass
class Results:
    """Values by figure and server, one for each turn; and the void rounds with their reasons.

    ``others``: the share of the machine's CPU that neither a server nor its load used. If it is
    large, the machine was busy.
    """

    values: Values = field(default_factory=dict)
    voids: list[str] = field(default_factory=list)
    others: float = 0.0
    own_seconds: float = 0.0

    def add(self, server: str, samples: dict[str, list[float]]) -> None:
        for figure, values in samples.items():
            self.values.setdefault(figure, {}).setdefault(server, []).extend(values)


@dataclass(frozen=True)
class Plan:
    """The servers, figures and scale of one run."""

    contestants: tuple[Contestant, ...]
    figures: tuple[str, ...]
    rounds: int
    scale: Scale
    scratch: Path


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """Runs the plan; ``say`` gets a line for each step. A void round does not end the run."""
    plan.scratch.mkdir(parents=True, exist_ok=True)
    results = Results()
    busy, whole = machine_seconds()
    for figure in plan.figures:
        racing = [c for c in plan.contestants if _takes_part(c, figure)]
        for number in range(1 if figure == "limit" else plan.rounds):
            say(f"{figure}, round {number + 1}")
            if number:
                racing = [c for c in racing if figure not in c.once]
            _round(figure, racing, plan, results, say)
    busy, whole = (now - then for now, then in zip(machine_seconds(), (busy, whole), strict=True))
    results.others = max(0.0, busy - results.own_seconds - time.process_time()) / whole
    return results


def needs_redis(figure: str) -> bool:
    """Whether the Python servers need redis-py, which a user's server without Redis has not."""
    return figure == "redis" or figure in HOSTS


def _takes_part(contestant: Contestant, figure: str) -> bool:
    if figure in HOSTS:
        return bool(contestant.hosts)
    if figure in contestant.skips or contestant.only_hosts:
        return False
    return figure not in WORKERS or bool(contestant.several)


def _round(
    figure: str,
    racing: list[Contestant],
    plan: Plan,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """One round of all servers.

    ``limit`` needs all descriptors for each server, so they run one after the other. For ``idle``
    each server has its own load, and all idle at the same time, once the last has its connections.
    """
    if figure == "limit":
        for contestant in racing:
            with _Race("limit", [contestant], plan) as race:
                race.report(results, say)
    elif figure == "idle":
        with ExitStack() as stack:
            races = [stack.enter_context(_Race("idle", [c], plan)) for c in racing]
            for race in races:
                race.await_ready()
            for race in races:
                race.go()
            for race in races:
                race.report(results, say)
    elif figure in WORKERS and racing:
        for workers in WORKERS[figure]:
            several = [with_workers(c, workers, redis=figure == "redis") for c in racing]
            with _Race(figure, several, plan, workers) as race:
                race.report(results, say)
    elif figure in HOSTS and racing:
        for hosts in HOSTS[figure]:
            with _Race(figure, [with_hosts(c, hosts) for c in racing], plan) as race:
                race.report(results, say)
    elif racing:
        with _Race(figure, racing, plan) as race:
            race.report(results, say)


class _Race:
    """Runs servers on one core and the load on another; on any core if the load mostly sleeps."""

    def __init__(
        self, figure: str, racing: list[Contestant], plan: Plan, workers: int = 1
    ) -> None:
        self.figure = figure
        self.workers = workers
        cores = sorted(os.sched_getaffinity(0))
        apart = len(cores) > 1 and figure not in ANY_CORE
        server_core, load_core = cores[:2] if apart else (None, None)
        self._line = ""
        self._stack = ExitStack()
        with self._stack:
            self.servers = [
                self._stack.enter_context(
                    Server(
                        c,
                        plan.scratch / f"{c.name}.log",
                        server_core,
                        python=sys.executable if needs_redis(figure) else USERS,
                        recovery=figure == "recovery",
                    )
                )
                for c in racing
            ]
            self.load = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.driver"],
                cwd=HERE.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._stack.callback(self._stop_load)
            self._write(json.dumps(self._task(plan, load_core)))
            self._stack = self._stack.pop_all()

    def _task(self, plan: Plan, core: int | None) -> dict[str, object]:
        subjects = [
            {
                "name": server.contestant.name,
                "port": server.port,
                "ports": server.ports,
                "pid": server.pid,
                "bare": server.contestant.bare,
                "workers": self.workers,
                "scale": dataclasses.asdict(_scale(server.contestant, self.figure, plan.scale)),
            }
            for server in self.servers
        ]
        return {"scenario": self.figure, "core": core, "subjects": subjects}

    def __enter__(self) -> _Race:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def await_ready(self) -> None:
        """Waits until the load has opened its connections, or has ended."""
        self._line = self._read()

    def go(self) -> None:
        if self._line == "ready":
            self._write("go")
            self._line = ""

    def report(self, results: Results, say: Callable[[str], None]) -> None:
        line = self._line or self._read()
        lost = dict.fromkeys((s.contestant.name for s in self.servers), "the load broke down")
        broken = {"samples": {}, "voids": lost, "cpu_seconds": 0.0}
        answer: dict[str, Any] = json.loads(line) if line else broken
        results.own_seconds += answer["cpu_seconds"]
        for name, samples in answer["samples"].items():
            results.add(name, samples)
            shown = (f"{key} {statistics.median(values):.4g}" for key, values in samples.items())
            say(f"  {name}: {', '.join(shown)}")
        for server in self.servers:
            results.own_seconds += cpu_ns(server.pid) / 1e9
            name = server.contestant.name
            if name in answer["voids"]:
                results.voids.append(f"{self.figure} on {name}: {answer['voids'][name]}")
                say(f"  {name}: VOID, {answer['voids'][name]}\n{server.tail()}")

    def _stop_load(self) -> None:
        self.load.kill()
        self.load.communicate()

    def _write(self, line: str) -> None:
        assert self.load.stdin is not None
        self.load.stdin.write(line + "\n")
        self.load.stdin.flush()

    def _read(self) -> str:
        assert self.load.stdout is not None
        return self.load.stdout.readline().strip()


def _scale(contestant: Contestant, figure: str, scale: Scale) -> Scale:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - DESCRIPTOR_RESERVE
    if figure == "recovery":
        return dataclasses.replace(scale, recoveries=min(scale.recoveries, most))
    if figure == "limit":
        return dataclasses.replace(scale, memory=(most,))
    if not contestant.doubles:
        return dataclasses.replace(scale, disconnects=scale.disconnects[:1])
    return scale
