"""The tests' own layers, from their source: a folder is tested with itself and what is below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE = ROOT / "rtcio_sync"

#: The folders of the package whose tests build no server; those of the others may.
WITHOUT_A_SERVER = (
    *("protocol", "config", "parser", "hub", "transport"),
    *("engineio", "adapter", "cluster", "relay", "flask", "serving"),
)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def layers() -> list[str]:
    """The modules of the package from low to high, as tests/test_layers.py lists them."""
    for node in tree_of(TESTS / "test_layers.py").body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ROOMS":
            assert node.value is not None
            rooms = ast.literal_eval(node.value)
            return [f"{room}.{name}" if room else name for room, names in rooms for name in names]
    raise AssertionError("tests/test_layers.py lists no ROOMS")


ORDER = layers()
FOLDERS = list(dict.fromkeys(each.partition(".")[0] for each in ORDER if "." in each))


def homes() -> dict[str, str]:
    """The module of each name that ``rtcio_sync`` itself gives, from what it imports for types."""
    tree = tree_of(PACKAGE / "__init__.py")
    return {
        name.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in node.names
    }


HOMES = homes()


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, or names in a string, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert not node.level, f"{path}: imports of tests are absolute"
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("rtcio_sync."):
            yield str(node.value)


def module_of(name: str) -> str:
    """The module of the package that ``rtcio_sync.…`` names."""
    inside = name.removeprefix("rtcio_sync.")
    if inside in HOMES:
        return HOMES[inside]
    fits = [each for each in ORDER if f"{inside}.".startswith(f"{each}.")]
    return max(fits, key=len, default="server")  # the package itself may stand for all of it


def file_of(name: str) -> Path | None:
    """The file of ``tests.…``, or of what a name in it is imported from."""
    for dotted in (name, name.rpartition(".")[0]):
        path = ROOT / f"{dotted.replace('.', '/')}.py"
        if path.is_file():
            return path
    return None


def reached(path: Path, seen: set[Path] | None = None) -> set[str]:
    """The modules of the package that a test reaches, by itself or through the tests' helpers."""
    seen = {path} if seen is None else seen
    found = set()
    for name in imports(path):
        if name == "rtcio_sync" or name.startswith("rtcio_sync."):
            found.add(module_of(name))
        elif name.startswith("tests."):
            helper = file_of(name)
            if helper is not None and helper not in seen:
                seen.add(helper)
                found |= reached(helper, seen)
    return found


def files_of(folder: str) -> list[Path]:
    return sorted((TESTS / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


BELOW = [path for folder in WITHOUT_A_SERVER for path in files_of(folder)]


def test_what_a_file_reaches_is_found_through_its_helpers() -> None:
    assert "server" in reached(TESTS / "clients.py"), "by the package's own name for it"
    assert "server" in reached(TESTS / "reconnecting.py"), "through another helper, too"
    assert "adapter.session_store" in reached(TESTS / "adapter/test_session_store.py")
    assert reached(TESTS / "timing.py") == set()


@pytest.mark.parametrize("path", BELOW, ids=name_of)
def test_a_test_of_a_folder_reaches_nothing_above_it(path: Path) -> None:
    folder = path.relative_to(TESTS).parts[0]
    last = max(number for number, each in enumerate(ORDER) if each.startswith(f"{folder}."))
    assert reached(path) <= set(ORDER[: last + 1])


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_of_the_package_has_its_tests(folder: str) -> None:
    assert (TESTS / folder / "__init__.py").is_file()
    assert any(path.name.startswith("test_") for path in files_of(folder))


def test_no_test_imports_another() -> None:
    paths = [*TESTS.glob("*.py"), *TESTS.glob("[!.]*/*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert len(paths) > 100
    of_a_test = r"^ *(?:from|import) tests\.(?:\w+\.)*test_|^ *from tests\S* import .*\btest_"
    for path in paths:
        found = re.findall(of_a_test, path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found == [], path
