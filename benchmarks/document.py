"""What one or several runs have measured: ``benchmarks.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import FLOOR, NODE, Row, Values, medians, rows, scenario_of
from benchmarks.run import FIGURES

Facts = dict[str, Any]  # of one run: its date, command, machine, figures, scale and voids
NAME = "benchmarks.json"


@dataclass(frozen=True)
class Document:
    """The value of each turn by figure and server, and the runs that they are from, newest last."""

    values: Values
    runs: list[Facts]

    @classmethod
    def read(cls, folder: Path) -> Document:
        """What is in that folder; empty if nothing is."""
        path = folder / NAME
        if not path.exists():
            return cls({}, [])
        found = json.loads(path.read_text())
        return cls({each["figure"]: each["turns"] for each in found["figures"]}, found["runs"])

    def over(self, earlier: Document) -> Document:
        """These figures, and the earlier ones of the scenarios that were not measured now."""
        ours = {scenario for run in self.runs for scenario in run["figures"]}
        values = dict(self.values)
        for figure, turns in earlier.values.items():
            if scenario_of(figure) not in ours:
                values[figure] = turns
        runs = []
        for run in earlier.runs:
            if left := [scenario for scenario in run["figures"] if scenario not in ours]:
                runs.append({**run, "figures": left})
        ordered = sorted(values, key=lambda figure: FIGURES.index(scenario_of(figure)))
        return Document({figure: values[figure] for figure in ordered}, [*runs, *self.runs])

    def rows(self) -> list[Row]:
        return rows(medians(self.values))

    def write(self, folder: Path) -> None:
        figures = [
            {
                "figure": row.figure,
                "title": row.title,
                "unit": row.unit,
                "median": row.values,
                "times_node": {name: row.ratio(name, NODE) for name in row.values},
                "times_floor": {name: row.ratio(name, FLOOR) for name in row.values},
                "turns": self.values[row.figure],
            }
            for row in self.rows()
            if row.figure in self.values
        ]
        text = json.dumps({"runs": self.runs, "figures": figures}, indent=1)
        (folder / NAME).write_text(text + "\n")
