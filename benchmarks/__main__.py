"""``python -m benchmarks``: measures, prints one Markdown table, writes JSON and plots."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, HERE, install_node_packages
from benchmarks.report import write
from benchmarks.run import FIGURES, Plan, run
from benchmarks.scenarios import Scale

QUICK = Scale(
    turns=2,
    cpu_seconds=0.06,
    latency_seconds=0.2,
    connects=60,
    disconnects=(1000, 2000),
    recoveries=1000,
    memory=(500, 1000),
    idle_seconds=10.0,
)


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with us
    scale = dataclasses.replace(QUICK if options.quick else Scale(), **json.loads(options.scale))
    plan = Plan(
        contestants=tuple(CONTESTANTS[name] for name in options.servers),
        figures=tuple(options.figures or _all_figures(options.quick)),
        rounds=options.rounds or (1 if options.quick else 3),
        scale=scale,
        scratch=options.output / "tmp",
    )
    if "node" in options.servers:
        install_node_packages()
    results = run(plan, lambda line: print(line, file=sys.stderr, flush=True))
    print(write(results, plan, options.output))
    return 1 if results.voids else 0


def _all_figures(quick: bool) -> tuple[str, ...]:
    return tuple(name for name in FIGURES if not (quick and name == "limit"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--figures", nargs="+", choices=FIGURES, metavar="FIGURE",
                        help=f"of: {', '.join(FIGURES)}; all when not given")  # fmt: skip
    parser.add_argument("--servers", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS),
                        metavar="SERVER", help=f"of: {', '.join(CONTESTANTS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="medians are of so many; 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a rough look within two minutes")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a directory")
    parser.add_argument("--scale", default="{}", help="fields of scenarios.Scale to change, JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
