"""A pytest plugin: leaves out the tests that a table names, or runs no others.

`table`, set by the suite's own plugin, gives for each test (``file.py::Class::test``) what of
upstream's behaviour it pins that is ours by intention no more.
"""

from __future__ import annotations

import pytest

table: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only-deselected", action="store_true", help="run only what the table names")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    named = [item for item in items if _key(item) in table]
    missing = table.keys() - {_key(item) for item in named}
    if missing:
        raise pytest.UsageError(f"there is no such test: {', '.join(sorted(missing))}")
    if config.getoption("--only-deselected"):
        items[:] = named
        return
    config.hook.pytest_deselected(items=named)
    items[:] = [item for item in items if _key(item) not in table]


def _key(item: pytest.Item) -> str:
    return item.nodeid.rpartition("/")[2]
