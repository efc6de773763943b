"""Compares a run: with another source tree in the same run, or with committed figures. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from benchmarks.contestants import BEFORE, Contestant
from benchmarks.rows import NODE, Row, Values, describe

WORSE = 1.05  # times as much, relative to Node: more than the same source differs by


def comparison(values: Values, contestants: Iterable[Contestant]) -> str:
    """A Markdown table: each figure of ours from both trees, and the ratio.

    Turns of the two follow each other, so the ratio is the median of the turns' ratios: a machine
    that gets faster or slower meanwhile changes it less than the medians. Its quartiles tell how
    sure it is.
    """
    lines = ["| figure | server | unit | before | now | times | quartiles |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | --- |")
    lines += [_line(*pair) for pair in _pairs(values, contestants)]
    return "\n".join(lines)


def _pairs(
    values: Values, contestants: Iterable[Contestant]
) -> Iterator[tuple[str, str, list[float], list[float]]]:
    names = [contestant.name for contestant in contestants if contestant.ours]
    for figure, servers in values.items():
        for name in names:
            then, now = servers.get(name + BEFORE, []), servers.get(name, [])
            if then and len(then) == len(now):
                yield figure, name, then, now


def _line(figure: str, server: str, then: list[float], now: list[float]) -> str:
    title, unit = describe(figure)
    ratios = [new / old for old, new in zip(then, now, strict=True) if old]
    spread = statistics.quantiles(ratios) if len(ratios) > 1 else [*ratios] * 3
    before, after = (f"{statistics.median(turns):,.4g}" for turns in (then, now))
    times, quartiles = f"{statistics.median(ratios):.3f}", f"{spread[0]:.3f} to {spread[2]:.3f}"
    return f"| {title} | {server} | {unit} | {before} | {after} | **{times}** | {quartiles} |"


def check(
    now: Iterable[Row], committed: Iterable[Row], ours: Iterable[str]
) -> tuple[int, list[str]]:
    """How many figures both have, and a line for each that got worse, as a ratio to Node's.

    Each ratio is of one run, so that the two may be from different machines.
    """
    before = {row.figure: row for row in committed}
    names, compared, worse = list(ours), 0, []
    for row in now:
        for name in names:
            then = before[row.figure].ratio(name, NODE) if row.figure in before else None
            ratio = row.ratio(name, NODE)
            if then is None or ratio is None or row.unit == "times":
                continue
            compared += 1
            if ratio > then * WORSE:
                change = f"{then:.3f} to {ratio:.3f} times Node's, {ratio / then - 1:+.0%}"
                worse.append(f"worse: {row.title}, {name}: {change}")
    return compared, worse
