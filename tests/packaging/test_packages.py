"""What an index gets: the sdist, the wheel, their metadata, and clean environments with them.

``PACKAGES=full``, of `make packages`: on each Python, with the oldest and the newest versions of
all dependencies; the unit tests of the unpacked sdist; and what twine says.
"""

from __future__ import annotations

import email
import email.message
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.packages import (
    ROOT,
    Packages,
    build,
    clean_environment,
    oldest,
    run,
)

FULL = os.environ.get("PACKAGES") == "full"
SMOKE = str(Path(__file__).with_name("smoke.py"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

pytestmark = pytest.mark.timeout(1800 if FULL else 600)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return build(tmp_path_factory.mktemp("packages"))


def metadata(packages: Packages) -> email.message.Message:
    with zipfile.ZipFile(packages.wheel) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        return email.message_from_string(wheel.read(name).decode())


def files_of_the_package() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "rtcio_sync").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == files_of_the_package()


def test_the_sdist_has_tests_documents_examples_and_the_changelog(packages: Packages) -> None:
    with tarfile.open(packages.sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of_the_package() <= inside
    for name in ("CHANGELOG.md", "Makefile", "LICENSE", ".ci/run", "scripts/draw-layers"):
        assert name in inside
    for folder in ("tests", "docs", "examples", "benchmarks"):
        paths = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*")]
        files = {
            str(path)
            for path in paths
            if path.suffix in (".py", ".md", ".png", ".svg", ".js", ".yaml", ".conf")
            and not {"node_modules", "tmp", "__pycache__"} & set(path.parts)
            and not any(part.startswith(".venv") for part in path.parts)
        }
        assert files
        assert files - inside == set()
    for part in ("node_modules", "__pycache__", ".venv"):
        assert not any(part in name for name in inside)


def test_the_metadata_names_the_author_the_addresses_and_the_licence(packages: Packages) -> None:
    told = metadata(packages)
    assert told["Author"] == "The rtcio_sync authors"
    assert told["License"] == "MIT" or told["License-Expression"] == "MIT"
    addresses = dict(each.split(", ") for each in told.get_all("Project-URL", []))
    assert addresses["rtc.io"] == "https://docs.rtcio.dev"
    assert all(each.startswith("https://") for each in addresses.values())


def test_every_link_of_the_long_description_is_absolute(packages: Packages) -> None:
    text = metadata(packages).get_payload()
    assert isinstance(text, str) and text.lstrip().startswith("# rtcio_sync")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert "https://docs.rtcio.dev" in targets
    assert [each for each in targets if not each.startswith("https://")] == []


def test_the_tests_of_the_unpacked_sdist_pass(packages: Packages) -> None:
    """Some of them; with PACKAGES=full all unit tests, and all others can be imported."""
    pytest_quietly = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    if not FULL:
        said = run(*pytest_quietly, "tests/config", "tests/test_layers.py", cwd=packages.unpacked)
        assert re.search(r"\d{3,} passed", said)
        return
    # What `make test` lets npm install: one module of tests asks it for its cases.
    clients = "tests/integration/node/node_modules"
    (packages.unpacked / clients).symlink_to(ROOT / clients)
    said = run(*pytest_quietly, "--collect-only", "tests", cwd=packages.unpacked)
    assert re.search(r"\d{4,} tests collected", said)
    unit = unit_tests(packages.unpacked)
    said = run(*pytest_quietly, "-n", "2", *unit, cwd=packages.unpacked)
    assert re.search(r"\d{4,} passed", said)


def unit_tests(tree: Path) -> list[str]:
    found = re.search(r"^NOT_UNIT := (.*)$", (tree / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    left_out = set(found[1].split())
    folders = {path.parent.name for path in tree.glob("tests/*/__init__.py")} - left_out
    return [f"tests/{name}" for name in sorted(folders)]


def python_of(version: str) -> str:
    """An interpreter of pyenv's, or of the PATH."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    path = str(found[-1]) if found else shutil.which(f"python{version}")
    if path is None:
        pytest.skip(f"there is no Python {version}")
    return path


CASES = (
    [(version, which) for version in PYTHONS for which in ("newest", "oldest")]
    if FULL
    else [("", "newest")]
)


@pytest.mark.parametrize(("version", "which"), CASES)
def test_in_a_clean_environment_the_command_serves_and_relays(
    packages: Packages, tmp_path: Path, version: str, which: str
) -> None:
    python = python_of(version) if version else sys.executable
    constraints = oldest() if which == "oldest" else []
    installed = clean_environment(tmp_path / "venv", python, packages.wheel, *constraints)
    run(str(installed), "-W", "error", SMOKE, cwd=tmp_path)


def test_twine_has_nothing_to_say(packages: Packages, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    python = str(tmp_path / "venv/bin/python")
    run(python, "-m", "pip", "install", "--quiet", "twine", cwd=tmp_path)
    files = [str(packages.sdist), str(packages.wheel)]
    said = run(python, "-m", "twine", "check", "--strict", *files, cwd=tmp_path)
    assert said.count("PASSED") == 2
