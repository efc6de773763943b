"""Builds the sdist and the wheel, as an index gets them, and environments with nothing else."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (
    ".*", "node_modules", "build", "dist", "sdist", "*.egg-info", "__pycache__", "test-artifacts",
    "tmp",
)  # fmt: skip

#: Nothing of the tree under test is to be found by the programs that are started.
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

_BUILD = "import sys; from setuptools import build_meta; build_meta.build_{0}(sys.argv[1])"


@dataclass(frozen=True)
class Packages:
    """The two files, and the folder that the sdist was unpacked to."""

    sdist: Path
    wheel: Path
    unpacked: Path


def build(folder: Path) -> Packages:
    """Builds both in ``folder``: the wheel from the unpacked sdist."""
    tree, out = folder / "tree", folder / "dist"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    shutil.copytree(ROOT / ".ci", tree / ".ci")
    out.mkdir()
    run(sys.executable, "-c", _BUILD.format("sdist"), str(out), cwd=tree)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(folder / "unpacked", **safely)
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", _BUILD.format("wheel"), str(out), cwd=unpacked)
    (wheel,) = out.glob("*.whl")
    return Packages(sdist, wheel, unpacked)


def run(*command: str, cwd: Path) -> str:
    """What it prints. Fails with all that it said if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRON)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def clean_environment(folder: Path, python: str, wheel: Path, *constraints: str) -> Path:
    """A new environment with the wheel and what it requires; the path of its Python."""
    run(python, "-m", "venv", str(folder), cwd=folder.parent)
    found = folder / "bin/python"
    limits = folder / "constraints.txt"
    limits.write_text("\n".join(constraints) + "\n")
    run(
        str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--only-binary", ":all:", "--constraint", str(limits), str(wheel), cwd=folder,
    )  # fmt: skip
    run(str(found), "-m", "pip", "check", cwd=folder)
    return found


def oldest() -> list[str]:
    """The oldest allowed version of each dependency, as constraints of pip's."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    required = settings["options"]["install_requires"]
    return [f"{name}=={version}" for name, version in re.findall(r"([\w-]+)>=([\d.]+)", required)]
