"""The house, from the AST: imports run one way only, and each foreign thing has one door."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rtcio_sync"
PAGE = PACKAGE.parent / "docs/internals.md"

#: A module may import what stands in a lower tier, or before it in its own.
TIERS = (
    (
        "_version",
        "errors",
        "events",
        "names",
        "origins",
        "option_names",
        "option_values",
        "options",
    ),
    (
        "rooms",
        "envelope",
        "channel",
        "limits",
        "logs",
        "metrics",
        "backlog",
        "ice",
        "handshake",
        "websocket",
        "seating",
        "requests",
        "head",
        "seats",
        "weight",
        "encoding",
    ),
    ("outgoing", "connection", "takeover", "forked", "thread_servers", "hangup", "delivery"),
    (
        "hub_thread",
        "upstream_wire",
        "engine_packets",
        "interrupts",
        "turns",
        "inbox",
        "engine_socket",
        "heartbeat",
        "admission",
        "answers",
        "engine",
        "packets",
        "members",
        "calls",
        "manager",
        "listening",
        "published",
        "recovery",
        "relay",
        "decoding",
    ),
    (
        "signatures",
        "overdue",
        "acks",
        "dispatch",
        "broadcast",
        "sockets",
        "namespaces",
        "returning",
        "sessions",
        "inbound",
        "listeners",
        "flask",
        "listen_options",
        "http_server",
        "serving",
        "testing",
        "prometheus",
        "overflow",
        "handling",
        "server",
    ),
    ("lobby_rooms", "lobby", "loading", "cli", "__main__"),
)
#: Outside the tiers: it imports nothing of the package until it is asked for a name.
FACADE = "__init__"

ORDER = [module for tier in TIERS for module in tier]

VOCABULARY = TIERS[0]
PURE = TIERS[1]

#: What a pure module may not import: clocks, files, sockets, tasks. `ice` asks the time when its
#: caller gives none; `websocket` takes the C unmasking of `websockets`.
IMPURE = {"gevent", "os", "select", "signal", "socket", "ssl", "subprocess", "threading", "time"}
EXCEPT = {("ice", "time")}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield node
        yield from runtime_nodes(node)


@cache
def own_imports(module: str) -> set[str]:
    """The modules of the package that ``module`` imports, wherever in it."""
    found: set[str] = set()
    for node in runtime_nodes(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"{module}: the package has no sub-packages"
            names = [node.module] if node.module else [each.name for each in node.names]
            found.update(name.partition(".")[0] for name in names if name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            foreign = foreign_names(node)
            assert not any(name.startswith("rtcio_sync") for name in foreign), module
    return found


def foreign_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    base = node.module or ""
    return [base, *(f"{base}.{each.name}" for each in node.names)]


@cache
def foreign_imports(module: str) -> set[str]:
    """The dotted names that ``module`` imports from elsewhere."""
    return {
        name
        for node in runtime_nodes(tree_of(module))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for name in foreign_names(node)
    }


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_every_module_has_its_place() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {FACADE}
    assert modules == set(ORDER)


def test_the_page_for_contributors_names_every_module_where_it_stands() -> None:
    _, _, house = PAGE.read_text().partition("\n## The house\n")
    floors = house.partition("\n## ")[0].split("\n### ")[1:]
    assert [tuple(re.findall(r"^\| `(\w+)` \|", floor, re.M)) for floor in floors] == [*TIERS]


def test_what_the_page_for_contributors_points_at_exists() -> None:
    pointed = re.findall(r"`([a-z_]+)\.([\w.]+)`", PAGE.read_text())
    inside = [(module, path) for module, path in pointed if path != "py" and module in ORDER]
    assert len(inside) > 10
    for module, path in inside:
        found = importlib.import_module(f"rtcio_sync.{module}")
        for name in path.split("."):
            assert hasattr(found, name), f"{module}.{path}"
            found = getattr(found, name)


def test_imports_are_found_wherever_they_stand() -> None:
    assert {"relay", "sessions", "flask"} <= own_imports("server")
    assert "server" in own_imports("cli"), "an import inside of a function"
    assert "server" not in own_imports("sessions"), "an import for types alone"


@pytest.mark.parametrize("module", ORDER)
def test_imports_run_one_way(module: str) -> None:
    before = set(ORDER[: ORDER.index(module)])
    assert own_imports(module) <= before


def test_the_facade_imports_nothing_but_its_version() -> None:
    assert own_imports(FACADE) == {"_version"}


@pytest.mark.parametrize("module", VOCABULARY)
def test_the_vocabulary_has_no_third_party_imports(module: str) -> None:
    assert roots(foreign_imports(module)) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", VOCABULARY + PURE)
def test_rules_touch_nothing_outside(module: str) -> None:
    reached = roots(foreign_imports(module)) & IMPURE
    assert reached <= {name for where, name in EXCEPT if where == module}


@pytest.mark.parametrize(
    ("foreign", "home"),
    [
        ("flask", {"flask"}),
        ("redis", set()),
        ("prometheus_client", {"prometheus"}),
        ("gunicorn", set()),
    ],
)
def test_a_foreign_package_has_one_door(foreign: str, home: set[str]) -> None:
    users = {module for module in ORDER if foreign in roots(foreign_imports(module))}
    assert users == home


def test_the_hub_is_touched_in_three_modules() -> None:
    hub_names = {"get_hub", "hub", "Hub"}
    users = set()
    for module in ORDER:
        tree = tree_of(module)
        imported = {
            name
            for name in foreign_imports(module)
            if name.startswith(("gevent.hub", "gevent.get_hub"))
        }
        used = {
            node
            for node in runtime_nodes(tree)
            if isinstance(node, ast.Attribute)
            and node.attr in hub_names
            and isinstance(node.value, ast.Name)
            and node.value.id == "gevent"
        }
        if imported or used:
            users.add(module)
    assert users == {"connection", "hangup", "hub_thread", "turns"}


BLOCKED = """
import sys

BLOCKED = {
    "redis", "valkey", "prometheus_client", "gunicorn", "msgpack", "kombu", "kafka", "aio_pika",
    "zmq", "aiohttp", "uwsgi", "flask_socketio", "flask_login", "flask_sqlalchemy",
}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is optional")


sys.meta_path.insert(0, Refuse())
import rtcio_sync

for name in rtcio_sync.__all__:
    getattr(rtcio_sync, name)
server = rtcio_sync.Server()
client = server.test_client()
assert client.connected
loaded = BLOCKED & {name.partition(".")[0] for name in sys.modules}
assert not loaded, loaded
print("alive")
"""


def test_nothing_optional_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.stdout == "alive\n", done.stderr


def test_importing_the_package_loads_no_networking() -> None:
    code = (
        "import sys, rtcio_sync; "
        "early = {'socket', 'ssl', 'threading', 'gevent', 'socketio', 'flask'}; "
        "print(sorted(early & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr
