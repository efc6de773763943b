"""The load: a process of its own that drives servers through one scenario, turn by turn.

``python -m benchmarks.driver`` reads one line of JSON and writes one: each server's figures, and
why some have none.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks.clients import Void
from benchmarks.scenarios import SCENARIOS, Scale, Subject, Turns

Samples = dict[str, dict[str, list[float]]]


def main() -> None:
    task = json.loads(sys.stdin.readline())
    if task["core"] is not None:
        os.sched_setaffinity(0, {task["core"]})
    gc.disable()  # a pause here would be measured as the server's latency
    subjects = []
    for entry in task["subjects"]:
        scale = Scale(**entry.pop("scale"))
        subjects.append((Subject(**entry), scale))
    samples, voids = take_turns(SCENARIOS[task["scenario"]], subjects)
    answer = {"samples": samples, "voids": voids, "cpu_ns": time.process_time_ns()}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # closing thousands of sockets one by one is nobody's figure


def take_turns(
    scenario: Callable[[Subject, Scale], Turns], subjects: list[tuple[Subject, Scale]]
) -> tuple[Samples, dict[str, str]]:
    """Each server's turn before any has the next; a void one is out, and all it has measured."""
    samples: Samples = {subject.name: {} for subject, _ in subjects}
    voids: dict[str, str] = {}
    running = {subject: scenario(subject, scale) for subject, scale in subjects}
    served = dict.fromkeys(running, time.monotonic())

    def attempt(subject: Subject, step: Callable[[], None]) -> None:
        start = time.monotonic()
        try:
            step()
        except StopIteration:
            del running[subject]
        except (Void, OSError) as failure:
            del running[subject], samples[subject.name]
            # A server rightly ends connections whose pings a starved load has left unanswered.
            gap = f"{start - served[subject]:.1f} s after its turn before"
            voids[subject.name] = f"{type(failure).__name__}: {failure}, {gap}"
        served[subject] = time.monotonic()

    def turn(subject: Subject) -> None:
        for figure, value in next(running[subject]).items():
            samples[subject.name].setdefault(figure, []).append(value)

    while running:
        for subject in tuple(running):
            if subject in running:
                attempt(subject, partial(turn, subject))
            for other in tuple(running):
                attempt(other, other.keep_alive)
    return samples, voids


if __name__ == "__main__":
    main()
