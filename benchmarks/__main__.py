"""``python -m benchmarks``: measures, prints one Markdown table, writes JSON and plots."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from pathlib import Path

from benchmarks import attacks
from benchmarks.comparing import check, comparison
from benchmarks.contestants import CONTESTANTS, HERE, Contestant, before
from benchmarks.document import Document
from benchmarks.facts import about
from benchmarks.installing import install
from benchmarks.report import page, write, write_into_documents
from benchmarks.rows import NODE
from benchmarks.run import FIGURES, Plan, run
from benchmarks.subject import Scale

ATTACKS = "attacks"
RESULTS = HERE / "results"
QUICK = Scale(
    turns=4,
    cpu_seconds=0.06,
    latency_seconds=0.2,
    warm_lives=1000,
    lives=150,
    warm_rooms=20,
    rooms=5,
    connects=60,
    disconnects=(1000, 2000),
    recoveries=1000,
    storm=1000,
    memory=(500, 1000),
    idle_seconds=10.0,
)


def main(arguments: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check and NODE not in options.servers:
        parser.error("--check compares ratios to Node's figures: name it among --servers")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with us
    figures = tuple(options.figures or _all_figures(options.quick))
    output = options.output or _output(options)
    plan = Plan(
        contestants=_contestants(options),
        figures=tuple(figure for figure in figures if figure != ATTACKS),
        rounds=options.rounds or (1 if options.quick else 3),
        scale=dataclasses.replace(QUICK if options.quick else Scale(), **json.loads(options.scale)),
        scratch=output / "tmp",
    )
    install(plan.contestants, plan.figures)
    good = _measure(options, plan, output) if plan.figures else True
    if ATTACKS in figures:
        _attack(options, plan, output)
    elif not options.figures:
        _say(f"not measured: {ATTACKS}, which takes some 50 minutes (--figures {ATTACKS})")
    return 0 if good else 1


def _measure(options: argparse.Namespace, plan: Plan, output: Path) -> bool:
    """Whether all went well: no figure is void, and with ``--check`` none got worse."""
    committed = Document.read(options.check) if options.check else None
    results = run(plan, _say)
    facts = about() | {"Used by other processes meanwhile": f"{results.others:.0%} of the machine"}
    described = {"figures": plan.figures, "about": facts, "void": results.voids}
    document = Document(results.values, [described | {"scale": dataclasses.asdict(plan.scale)}])
    print(page(document))
    if options.figures and not (options.check or options.against):
        document = document.over(Document.read(output))
    write(document, output)
    if output == RESULTS:
        write_into_documents(document, HERE.parent)
    if options.against:
        print(f"\n{comparison(results.values, plan.contestants)}")
    return not results.voids and (committed is None or _checked(document, committed, plan))


def _checked(document: Document, committed: Document, plan: Plan) -> bool:
    ours = [contestant.name for contestant in plan.contestants if contestant.ours]
    compared, worse = check(document.rows(), committed.rows(), ours)
    print("\n".join(["", *worse, f"{len(worse)} of {compared} compared figures are worse"]))
    return bool(compared) and not worse


def _attack(options: argparse.Namespace, plan: Plan, output: Path) -> None:
    rows = options.attacks or (attacks.NOBODY, *attacks.ATTACKS)
    harms = attacks.attack_all(plan.contestants, rows, plan.scratch, _say)
    contestants, described = plan.contestants, about()
    if options.attacks:
        contestants = tuple(CONTESTANTS.values())
        harms = attacks.with_earlier(harms, output)
        described = attacks.about_with_earlier(described, rows, output)
    print(attacks.write(harms, contestants, described, output))
    if output == RESULTS:
        attacks.write_into_guide(harms, contestants, HERE.parent / "docs/security.md")


def _output(options: argparse.Namespace) -> Path:
    if options.against or options.check:
        return RESULTS / "tmp" / "compared"
    # Without all servers, rows of the documents would lose the figures of the others.
    return RESULTS if set(_usual()) <= set(options.servers) else RESULTS / "tmp" / "some"


def _usual() -> list[str]:
    return [each.name for each in CONTESTANTS.values() if not each.extra]


def _contestants(options: argparse.Namespace) -> tuple[Contestant, ...]:
    """The chosen ones; each of ours followed by the one that it is compared with."""
    found = []
    for contestant in (CONTESTANTS[name] for name in options.servers):
        found.append(contestant)
        if options.against and contestant.ours:
            found.append(before(contestant, options.against))
    return tuple(found)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _all_figures(quick: bool) -> tuple[str, ...]:
    return tuple(name for name in FIGURES if not (quick and name == "limit"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--figures", nargs="+", choices=(*FIGURES, ATTACKS), metavar="FIGURE",
                        help=f"of: {', '.join(FIGURES)}; all of these when not given; "
                             f"or {ATTACKS}")  # fmt: skip
    parser.add_argument("--servers", nargs="+", choices=CONTESTANTS, default=_usual(),
                        metavar="SERVER", help=f"of: {', '.join(CONTESTANTS)}; "
                             f"when not given: {', '.join(_usual())}")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="medians are of so many; 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a rough look within two minutes")
    parser.add_argument("--attacks", nargs="+", choices=(attacks.NOBODY, *attacks.ATTACKS),
                        metavar="ATTACK", help="rows of that, which replace an earlier run's; "
                             "all when not given")  # fmt: skip
    parser.add_argument("--against", type=_tree, metavar="TREE",
                        help="another source tree: each server of ours runs from both")  # fmt: skip
    parser.add_argument("--check", type=Path, nargs="?", const=RESULTS, metavar="FOLDER",
                        help="name the figures that got over 5 %% worse, as ratios to Node's, than "
                             "those of an earlier run; benchmarks/results")  # fmt: skip
    parser.add_argument("--output", type=Path, help="a directory; benchmarks/results, or one "
                        "in its tmp/ with --against, --check or only some servers")  # fmt: skip
    parser.add_argument("--scale", default="{}", help="fields of scenarios.Scale to change, JSON")
    return parser


def _tree(path: str) -> Path:
    tree = Path(path).resolve()
    if not (tree / "benchmarks/servers").is_dir() or not (tree / "rtcio_sync").is_dir():
        raise argparse.ArgumentTypeError(f"{tree} is no source tree of rtcio_sync")
    return tree


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
