"""The pictures in docs/internals.md are true: of the layers, and of a message's way."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from textwrap import dedent
from typing import Any

import pytest

from tests.docs.pages import BLOCKS, ROOT

PACKAGE = ROOT / "rtcio_sync"
MODULES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
]

LAYERS, WAY = (
    block.text
    for block in BLOCKS
    if block.page.name == "internals.md" and block.text.startswith("flowchart")
)
#: The names of functions in the picture of the way, by the short names of their boxes.
NAMES = dict(re.findall(r'(\w+)\["((?:\w+\.)+[A-Z]\w+\.\w+)"\]', WAY))
ARROWS = [
    (NAMES[start], label, NAMES[end])
    for start, label, end in re.findall(r"(\w+) -->(?:\|(\w+)\|)? (\w+)", WAY)
    if start in NAMES and end in NAMES
]


def test_the_picture_of_the_layers_is_the_one_that_is_drawn_from_the_imports() -> None:
    command = [sys.executable, str(ROOT / "scripts/draw-layers")]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert drawn == LAYERS, "run scripts/draw-layers --write"


def function(path: str) -> Any:
    module = max((each for each in MODULES if path.startswith(f"{each}.")), key=len)
    found = importlib.import_module(f"rtcio_sync.{module}")
    for name in path.removeprefix(f"{module}.").split("."):
        found = getattr(found, name)
    return found


def words_in(path: str) -> set[str]:
    """The names that a function uses, and the classes of what it calls."""
    tree = ast.parse(dedent(inspect.getsource(function(path))))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }


def test_every_function_that_it_names_exists() -> None:
    """`tests/test_layers.py` asks it of classes."""
    page = (ROOT / "docs/internals.md").read_text()
    dotted = re.findall(r"`((?:\w+\.)+\w+)`", page)
    known = [each for each in dotted if any(each.startswith(f"{name}.") for name in MODULES)]
    assert len(known) > 40
    for each in known:
        assert function(each) is not None, each


FOLDERS = {name.partition(".")[0] for name in MODULES if "." in name}
#: What looks like a module of ours in a text, and is of another package.
OTHERS = ("flask.json", "socketio.exceptions.")
FOR_CONTRIBUTORS = [
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs" / name for name in ("internals.md", "cluster.md", "security.md")),
]


@pytest.mark.parametrize("texts", ["the pages", "rtcio_sync", "tests"])
def test_every_module_that_a_text_names_with_its_folder_exists(texts: str) -> None:
    """As `relay.peer_left`, in pages, docstrings and comments: a renamed module leaves no name."""
    pages = FOR_CONTRIBUTORS if texts == "the pages" else list((ROOT / texts).rglob("*.py"))
    pattern = rf"(?<!`)`((?:{'|'.join(FOLDERS)})\.[a-z_]+(?:\.\w+)*)`(?!`)"
    named = {(page.name, each) for page in pages for each in re.findall(pattern, page.read_text())}
    for page, each in sorted(named):
        if not each.startswith((*OTHERS, *(f"{module}." for module in MODULES))):
            assert each in MODULES, f"{page}: {each}"
        elif not each.startswith(OTHERS):
            assert each in MODULES or function(each) is not None, f"{page}: {each}"


@pytest.mark.parametrize("path", NAMES.values())
def test_what_is_on_the_way_exists(path: str) -> None:
    assert callable(function(path))


@pytest.mark.parametrize(("start", "label", "end"), ARROWS)
def test_each_on_the_way_calls_the_next(start: str, label: str, end: str) -> None:
    name = end.rpartition(".")[2]
    if name == "__call__":
        name = end.split(".")[-2].lower()
    assert (label or name) in words_in(start), f"{start} does not use {label or name}"
    if label:
        bound = rf"\.{label}(?:: [^=\n]+)? = (?:.*|{{[^}}]*)\.{name}\b"
        sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
        assert any(re.search(bound, source) for source in sources), f"nobody sets {label}"


def test_the_way_goes_from_the_bytes_to_the_handler() -> None:
    assert len(ARROWS) > 15
    ends = {end for _, _, end in ARROWS}
    assert [each for each in NAMES.values() if each not in ends and each != ARROWS[0][0]] == [
        NAMES["emit"]
    ]
