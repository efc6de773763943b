"""The targets of the Makefile: all of them listed, and which tests `make unit` leaves out."""

from __future__ import annotations

import re

from tests.makefile import TESTS, TEXT, unit_tests, words_of

#: Unit tests that start Python, and no other program.
START_PYTHON = {
    "cli/test_command.py",
    "cluster/test_local_bus.py",
    "flask/test_commands.py",
    "server/test_listen.py",
    "serving/test_listen.py",
    "serving/test_startup_warnings.py",
    "test_garbage_collector.py",
    "test_layers.py",
    "test_upstream.py",
    "starting/test_certificate.py",
    "starting/test_reload.py",
}


def test_help_lists_every_target() -> None:
    listed = set(re.findall(r"^([a-z-]+):.*## ", TEXT, re.MULTILINE))
    assert listed == words_of(r"\.PHONY")


def test_what_unit_leaves_out_is_there() -> None:
    for folder in words_of("NOT_UNIT"):
        assert list((TESTS / folder).glob("test_*.py")), folder


def test_a_unit_test_needs_python_alone() -> None:
    starting = set()
    for path in unit_tests():
        name, text = path.relative_to(TESTS).as_posix(), path.read_text(encoding="utf-8")
        needing = re.findall(r"def (test_\w+)\([^)]*\b(?:node|_driver)\b", text)
        assert needing == [], f"{name} needs Node"
        if re.search(r"^import subprocess", text, re.MULTILINE):
            starting.add(name)
    assert starting == START_PYTHON
