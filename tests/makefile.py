"""What the Makefile says of the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "Makefile").read_text(encoding="utf-8")


def words_of(name: str) -> set[str]:
    """The words behind a variable's or a target's name."""
    found = re.search(rf"^{name} ?:=? (.*)$", TEXT, re.MULTILINE)
    assert found is not None, name
    return set(found[1].split())


def unit_tests() -> Iterator[Path]:
    """The files of tests that `make unit` runs."""
    for path in TESTS.rglob("test_*.py"):
        if not words_of("NOT_UNIT").intersection(path.relative_to(TESTS).parts):
            yield path
