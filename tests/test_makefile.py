"""The targets of the Makefile: all of them listed, and which tests `make unit` leaves out."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "Makefile").read_text(encoding="utf-8")


def words_of(name: str) -> set[str]:
    found = re.search(rf"^{name} ?:=? (.*)$", TEXT, re.MULTILINE)
    assert found is not None, name
    return set(found[1].split())


def test_help_lists_every_target() -> None:
    listed = set(re.findall(r"^([a-z-]+):.*## ", TEXT, re.MULTILINE))
    assert listed == words_of(r"\.PHONY")


def test_what_unit_leaves_out_is_there() -> None:
    for folder in words_of("NOT_UNIT"):
        assert list((TESTS / folder).glob("test_*.py")), folder
