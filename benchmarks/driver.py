"""The load: a process of its own that drives one server through one scenario.

``python -m benchmarks.driver`` reads one line of JSON and writes one: the figures, or why there
are none.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time

from benchmarks.clients import Void
from benchmarks.scenarios import SCENARIOS, Scale, Subject


def main() -> None:
    task = json.loads(sys.stdin.readline())
    if task["core"] is not None:
        os.sched_setaffinity(0, {task["core"]})
    gc.disable()  # a pause here would be measured as the server's latency
    scale = Scale(**{k: tuple(v) if isinstance(v, list) else v for k, v in task["scale"].items()})
    subject = Subject(port=task["port"], pid=task["pid"], bare=task["bare"])
    try:
        answer: dict[str, object] = {"figures": SCENARIOS[task["scenario"]](subject, scale)}
    except (Void, OSError) as failure:
        answer = {"void": f"{type(failure).__name__}: {failure}"}
    print(json.dumps({**answer, "cpu_ns": time.process_time_ns()}), flush=True)
    os._exit(0)  # closing thousands of sockets one by one is nobody's figure


if __name__ == "__main__":
    main()
