"""mypy and pyright on two small apps: one is right, and one has a mistake in each marked line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rtcio_sync
from rtcio_sync import Options, ServerOptions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLES = HERE / "samples"
PYRIGHT = HERE / "node_modules/pyright/index.js"


def mypy(sample: Path, folder: Path) -> dict[int, list[str]]:
    """What mypy says, by line."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    command += ["--config-file", str(ROOT / "pyproject.toml")]
    command += ["--cache-dir", str(ROOT / ".mypy_cache/typed"), "--no-error-summary", str(sample)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert not done.stderr, done.stderr
    found: dict[int, list[str]] = {}
    for line, said in re.findall(r"^[^\n:]+:(\d+): error: (.*)$", done.stdout, re.M):
        found.setdefault(int(line), []).append(said)
    return found


def pyright(sample: Path, folder: Path) -> dict[int, list[str]]:
    """What pyright says, by line."""
    shutil.copy(sample, folder)  # it takes no path outside of the folder of its settings
    settings = {"include": [sample.name], "extraPaths": [str(ROOT)], "typeCheckingMode": "standard"}
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    command = ["node", str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable]
    command += ["--project", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    found: dict[int, list[str]] = {}
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 1, said
    for each in said["generalDiagnostics"]:
        if each["severity"] == "error":
            assert Path(each["file"]).name == sample.name, each
            found.setdefault(each["range"]["start"]["line"] + 1, []).append(each["message"])
    return found


Checker = Callable[[Path, Path], dict[int, list[str]]]
CHECKERS: dict[str, Checker] = {"mypy": mypy, "pyright": pyright}


@pytest.mark.parametrize("checker", CHECKERS.values(), ids=CHECKERS)
def test_a_sample_app_is_typed(checker: Checker, tmp_path: Path) -> None:
    assert checker(SAMPLES / "right.py", tmp_path) == {}


@pytest.mark.parametrize("checker", CHECKERS.values(), ids=CHECKERS)
def test_each_mistake_of_a_sample_app_is_found(checker: Checker, tmp_path: Path) -> None:
    sample = SAMPLES / "wrong.py"
    lines = sample.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "# wrong: " in line}
    found = checker(sample, tmp_path)
    assert set(found) == marked, {n: found[n] for n in set(found) - marked}


def test_the_names_in_a_sample_are_exported() -> None:
    assert "ServerOptions" in rtcio_sync.__all__


def test_the_keyword_arguments_are_the_options() -> None:
    options = set(Options.__dataclass_fields__) - {"given", "passed"}
    assert set(ServerOptions.__annotations__) == options
