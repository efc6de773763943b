"""The guides show their examples as they are: each excerpt is in the file; some show all of it."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from tests.docs.pages import BLOCKS, ROOT, Block

EXCERPTS = [block for block in BLOCKS if block.example]

#: The examples of which a guide shows all, but for the docstring and the imports.
WHOLE = {
    "docs/authentication.md": ["examples/session_auth.py", "examples/one_time_token.py"],
    "docs/background-jobs.md": ["examples/background_jobs.py"],
    "docs/chat-history.md": ["examples/chat_history.py"],
    "docs/testing.md": ["examples/rooms_app.py", "examples/test_rooms_app.py"],
}


@pytest.mark.parametrize("block", EXCERPTS, ids=str)
def test_an_excerpt_is_as_in_the_example(block: Block) -> None:
    lines = (ROOT / block.example).read_text().splitlines(keepends=True)
    excerpt = block.text.strip("\n") + "\n"
    count = excerpt.count("\n")
    found = ["".join(lines[at : at + count]) for at in range(len(lines))]
    assert excerpt in map(dedent, found), f"{block} is not in {block.example}"


@pytest.mark.parametrize(
    ("page", "example"), [(page, each) for page, names in WHOLE.items() for each in names]
)
def test_a_guide_shows_all_of_its_example(page: str, example: str) -> None:
    shown = [
        line.strip()
        for block in EXCERPTS
        if block.example == example and block.page == ROOT / page
        for line in block.text.splitlines()
        if line.strip()
    ]
    source = (ROOT / example).read_text()
    imports = [
        each for each in ast.parse(source).body if isinstance(each, (ast.Import, ast.ImportFrom))
    ]
    last = max(each.end_lineno or 0 for each in imports)
    code = [line.strip() for line in source.splitlines()[last:]]
    code = [line for line in code if line and not line.startswith("# -- ")]  # headings
    assert shown == code


def test_each_example_of_a_guide_has_a_test() -> None:
    tests = "".join(each.read_text() for each in (ROOT / "tests/examples").glob("test_*.py"))
    for name in sorted({block.example.removeprefix("examples/") for block in EXCERPTS}):
        started = name, f"{name.removesuffix('.py')}:app"  # by itself, or by gunicorn
        assert any(f'"{each}"' in tests for each in started), name
