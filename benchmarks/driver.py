"""The load: a separate process that runs one scenario on the servers, turn by turn.

``python -m benchmarks.driver`` reads one line of JSON and writes one: the figures of each server,
and why some are void.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from benchmarks.clients import Void
from benchmarks.scenarios import SCENARIOS
from benchmarks.subject import Scale, Subject, Turns

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
    rota = Rota(SCENARIOS[task["scenario"]], subjects)
    rota.run()
    own_seconds = sum(os.times()[:4])  # and those of the processes that it has waited for
    answer = {"samples": rota.samples, "voids": rota.voids, "cpu_seconds": own_seconds}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # closing thousands of sockets one by one is nobody's figure


class Rota:
    """Gives each server one turn after the other. A void server is out, with all its figures.

    The pings of a waiting server are answered, between turns and within a long one.
    """

    def __init__(
        self,
        scenario: Callable[[Subject, Scale], Turns],
        subjects: Iterable[tuple[Subject, Scale]],
    ) -> None:
        self.samples: Samples = {}
        self.voids: dict[str, str] = {}
        self._running: dict[Subject, Turns] = {}
        for subject, scale in subjects:
            known = replace(subject, breathe=partial(self._keep_alive, subject.name))
            self._running[known] = scenario(known, scale)
            self.samples[subject.name] = {}
        self._served = dict.fromkeys(self._running, time.monotonic())

    def run(self) -> None:
        while self._running:
            for subject in tuple(self._running):
                if subject in self._running:
                    self._attempt(subject, partial(self._turn, subject))
                self._keep_alive()

    def _turn(self, subject: Subject) -> None:
        for figure, value in next(self._running[subject]).items():
            self.samples[subject.name].setdefault(figure, []).append(value)

    def _keep_alive(self, but: str = "") -> None:
        for subject in tuple(self._running):
            if subject.name != but:
                self._attempt(subject, subject.keep_alive)

    def _attempt(self, subject: Subject, step: Callable[[], None]) -> None:
        start = time.monotonic()
        try:
            step()
        except StopIteration:
            del self._running[subject]
        except (Void, OSError) as failure:
            del self._running[subject], self.samples[subject.name]
            # A server rightly ends connections whose pings a starved load has left unanswered.
            gap = f"{start - self._served[subject]:.1f} s after the load had last served it"
            self.voids[subject.name] = f"{type(failure).__name__}: {failure}, {gap}"
        self._served[subject] = time.monotonic()


if __name__ == "__main__":
    main()
