"""Compares a run: with another source tree in the same run. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from benchmarks.contestants import BEFORE, Contestant
from benchmarks.rows import describe

Values = dict[str, dict[str, list[float]]]  # of each turn, by figure and server


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
