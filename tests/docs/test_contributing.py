"""What CONTRIBUTING.md tells people to run and to edit exists."""

from __future__ import annotations

import re
import subprocess
import sys

import rtcio_sync
from tests.docs.pages import ROOT
from tests.makefile import unit_tests

TEXT = (ROOT / "CONTRIBUTING.md").read_text()

FOLDERS = ("rtcio_sync", "tests", "docs", "examples", "benchmarks", "scripts", r"\.ci")
PATH = rf"(?:{'|'.join(FOLDERS)})/[\w./-]*\w/?"


def paths() -> set[str]:
    """All that is written as a file or a folder of this repository, in text and in commands."""
    found = set(re.findall(rf"(?<![\w/.-]){PATH}", TEXT))
    return found | set(re.findall(r"`([\w.]+\.(?:md|cfg|toml))`", TEXT))


def test_the_files_that_it_names_exist() -> None:
    assert len(paths()) > 30
    assert [each for each in sorted(paths()) if not (ROOT / each).exists()] == []


def test_the_targets_that_it_names_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^ *|`)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"unit", "test", "lint", "check-types"} <= named <= targets


def dry(*targets: str) -> str:
    """What `make` would run."""
    done = subprocess.run(
        ["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_unit_runs_each_file_in_one_of_its_parts() -> None:
    parts = re.findall(r"unit-\w+", dry("unit"))
    assert len(parts) > 2
    run = [each for part in parts for each in re.findall(r"tests/\S+\.py", dry(part))]
    assert sorted(run) == sorted(path.relative_to(ROOT).as_posix() for path in unit_tests())


def test_the_folders_that_unit_is_shown_with_exist() -> None:
    named = re.findall(r"ONLY=(\S+)", TEXT)
    assert named
    assert [each for each in named if not (ROOT / "tests" / each).exists()] == []


def test_the_integration_test_that_it_shows_selects_tests() -> None:
    (arguments,) = re.findall(r"-m pytest (-q tests/integration/\S+ -k \S+)", TEXT)
    command = [sys.executable, "-m", "pytest", "--collect-only", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_a_step_names_is_in_the_file_of_that_step() -> None:
    """Of each step that begins with a module: the names in it that look like Python's."""
    steps = re.findall(
        r"^\d\. `(rtcio_sync/\S+\.py|tests/\S+\.py)`(.+?)(?=^\d\. |^$)", TEXT, re.M | re.S
    )
    assert len(steps) > 8
    for path, said in steps:
        source = (ROOT / path).read_text()
        for name in re.findall(r"`(_?[A-Za-z]\w*)`", said):
            known = name in {"None", *rtcio_sync.__all__} or re.search(rf"\b{name}\b", source)
            assert known, f"{path} has no {name}"
