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

from tests.upstream_names import ALL_ATTRIBUTES, SIGNATURES

PACKAGE = Path(__file__).parent.parent / "rtcio_sync"
PAGE = PACKAGE.parent / "docs/internals.md"

#: The folders from low to high, "" for modules that stand in none, and their modules, low to high.
#: A module may import what stands before it.
ROOMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "",
        (
            "_version",
            "errors",
            "events",
            "client_limits",
            "functions",
            "metrics",
            "garbage_collector",
            "logs",
            "warned",
            "ice",
        ),
    ),
    (
        "protocol",
        (
            "names",
            "json_hooks",
            "envelope",
            "websocket_handshake",
            "packing",
            "fragments",
            "websocket_frames",
            "http_head",
            "http_request",
        ),
    ),
    ("config", ("origins", "node_options", "option_names", "option_values")),
    ("", ("options", "server_options")),
    ("parser", ("message_bounds", "encoding", "packet", "decoder")),
    (
        "hub",
        (
            "ports",
            "forked",
            "interrupts",
            "turns",
            "greenlet_pool",
            "thread",
            "background_task",
            "foreign_task",
        ),
    ),
    (
        "transport",
        (
            "ports",
            "closing",
            "slow_readers",
            "tcp",
            "fair_reading",
            "late_peers",
            "outgoing",
            "websocket",
            "takeover",
            "server_stop",
            "descriptor_shortage",
            "driver",
            "text_only",
            "hangup",
            "delivery",
            "thread_servers",
        ),
    ),
    (
        "engineio",
        (
            "state",
            "compact_environ",
            "ids",
            "http_requests",
            "payload",
            "descriptors",
            "packet",
            "ports",
            "heartbeat",
            "inbox",
            "polling",
            "upgrade",
            "socket",
            "tasks",
            "cors",
            "admission",
            "http_responses",
            "connection_transfer",
            "server",
        ),
    ),
    (
        "adapter",
        (
            "recipients",
            "member",
            "drops",
            "server_call",
            "gathering",
            "ports",
            "callbacks",
            "recovery_options",
            "session_log_state",
            "session_log",
            "session_store",
            "rooms",
            "emit",
        ),
    ),
    (
        "cluster",
        (
            "partial_read",
            "redis_resp",
            "pubsub_channel",
            "pubsub_checks",
            "pubsub_subscriber",
            "pubsub_manager",
            "frames",
            "messages",
            "ports",
            "socket_directory",
            "stream",
            "local_bus",
            "handover_messages",
            "worker_replacement",
            "redis_outbox",
            "redis_intake",
            "redis_heartbeats",
            "redis_link",
            "redis_addresses",
            "redis_faults",
            "redis_membership",
            "emitter_inbox",
            "redis_reader",
            "redis_writer",
            "redis_masters",
            "redis_peer",
            "redis_nodes",
            "redis_received",
            "redis_bus",
            "redis_survey",
            "combined_bus",
            "redis_options",
            "remote_rooms",
            "remote_presence",
            "id_owners",
            "remote_callbacks",
            "shared_rooms",
            "emitter",
            "node_emits",
            "external_emits",
            "remote_events",
            "held_messages",
            "held_streams",
            "handover_heir",
            "handover_sending",
            "handover_giver",
            "session_switchover",
            "session_claims",
            "succession",
            "exchange",
            "totals",
            "stray_polls",
            "node",
        ),
    ),
    ("relay", ("relay", "peer_left", "foreign_servers")),
    (
        "socketio",
        (
            "handler_signatures",
            "overdue_handlers",
            "overflow_warning",
            "deferred_ack",
            "throttle",
            "handler_call",
            "handler_types",
            "server_engine",
            "emit_with_ack",
            "ports",
            "handshake",
            "socket_conn",
            "broadcast",
            "remote_socket",
            "socket_handlers",
            "socket_events",
            "socket",
            "remote_requests",
            "namespace",
            "handler_registry",
            "handler_run",
            "dynamic_namespaces",
            "connection_members",
            "disconnect",
            "inbox_items",
            "connect",
            "recovery",
            "session_routing",
            "receive",
            "default_listeners",
            "session_state",
            "session_arrival",
            "session_transfer",
            "server_hooks",
            "admin_ui",
            "python_api",
            "node_api",
            "server_arguments",
        ),
    ),
    ("starting", ("addresses", "certificate", "reload", "debugging", "wrong_path")),
    ("flask", ("ports", "context", "extension", "commands")),
    (
        "serving",
        (
            "ports",
            "listen_options",
            "idle_connections",
            "http_response",
            "reread_socket",
            "http",
            "pywsgi",
            "gunicorn_http",
            "forwarded_heads",
            "descriptor_passing",
            "gunicorn_exit",
            "gunicorn",
            "startup_warnings",
            "wrong_host",
            "workers",
            "supervised_worker",
            "stop",
            "listen_on_threads",
            "listen",
        ),
    ),
    ("", ("prometheus", "testing", "server_parts", "server_cluster", "server")),
    (
        "flask_socketio",
        (
            "current",
            "calls",
            "namespace",
            "handlers",
            "options",
            "queues",
            "running",
            "testing",
            "extension",
        ),
    ),
    (
        "lobby",
        (
            "ports",
            "admission",
            "payloads",
            "keeper_messages",
            "keeper_ports",
            "keeper_copy",
            "keeper_changes",
            "keeper_claims",
            "keeper_releases",
            "keeper_fence",
            "keeper_watch",
            "keeper_asking",
            "keeper",
            "seat_transfer",
            "rooms",
            "keeper_steps",
            "joining",
            "keeper_table",
            "events",
            "lobby",
        ),
    ),
    ("pages", ("colours", "room_page")),
    (
        "cli",
        (
            "origins",
            "loading",
            "public",
            "first_lines",
            "worker_variables",
            "worker_process",
            "supervisor",
            "worker_template",
            "serve",
            "launch",
            "workers",
            "cluster",
            "command",
        ),
    ),
    ("", ("__main__",)),
)
#: Outside: it imports nothing of the package until it is asked for a name.
FACADE = "__init__"

ORDER = [f"{folder}.{name}" if folder else name for folder, names in ROOMS for name in names]
FOLDERS = list(dict.fromkeys(folder for folder, _ in ROOMS if folder))

VOCABULARY = [*ROOMS[0][1][:-1], *(each for each in ORDER if each.startswith("config.")), "options"]
PURE = [each for each in ORDER if each.startswith(("protocol.", "parser."))] + ["ice"]
PURE += ["engineio.state", "engineio.http_requests", "engineio.payload", "engineio.descriptors"]
PURE += ["adapter.recipients", "cluster.pubsub_checks", "lobby.admission"]
PURE += ["lobby.payloads", "lobby.keeper_copy", "cluster.partial_read"]
PURE += ["cluster.frames", "cluster.messages", "cluster.handover_messages"]
PURE += ["cluster.remote_rooms", "cluster.id_owners"]
PURE += ["adapter.session_log_state", "cluster.emitter_inbox"]
PURE += ["cluster.redis_resp", "cluster.redis_outbox", "cluster.redis_intake"]
PURE += ["cluster.redis_heartbeats"]

#: What a pure module may not import: clocks, files, sockets, tasks. `ice` asks the time when its
#: caller gives none; `websocket_frames` takes the C unmasking of `websockets`.
IMPURE = {"gevent", "os", "select", "signal", "socket", "ssl", "subprocess", "threading", "time"}
EXCEPT = {("ice", "time")}


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if is_for_types(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield node
        yield from runtime_nodes(node)


@cache
def own_imports(module: str, *, types: bool = False) -> set[str]:
    """The modules of the package that ``module`` imports, wherever in it.

    ``types``: also those that it imports for a type checker alone.
    """
    found: set[str] = set()
    tree = tree_of(module)
    for node in ast.walk(tree) if types else runtime_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            at = module.split(".")[: -node.level] if module != FACADE else []
            base = [*at, *(node.module.split(".") if node.module else [])]
            for name in node.names:
                whole = ".".join([*base, name.name])
                found.add(whole if whole in ORDER else ".".join(base))
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
    found = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    modules = {".".join(path.parts) for path in found if path.name != "__init__"}
    assert modules == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


#: Folders that apps import from, as from the package itself.
PUBLIC = {"flask_socketio", "pages"}


def test_a_folder_says_what_it_is_for_and_holds_nothing_else() -> None:
    for folder in FOLDERS:
        said, *more = ast.parse((PACKAGE / folder / "__init__.py").read_text()).body
        assert isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant), folder
        if folder in PUBLIC:
            *imports, names = more
            assert all(isinstance(each, ast.ImportFrom) for each in imports), folder
            assert ast.unparse(names).startswith("__all__ = "), folder
        else:
            assert not more, folder


def test_the_page_for_contributors_names_every_module_where_it_stands() -> None:
    _, _, house = PAGE.read_text().partition("\n## The modules\n")
    floors = house.partition("\n## ")[0].split("\n### ")[1:]
    named = []
    for floor in floors:
        folder = re.match(r"`(\w+)/`", floor)
        names = tuple(re.findall(r"^\| `(\w+)` \|", floor, re.M))
        named.append((folder[1] if folder else "", names))
    assert named == list(ROOMS)


def test_what_the_page_for_contributors_points_at_exists() -> None:
    pointed = re.findall(r"`((?:[a-z_]+\.)+[A-Z]\w*(?:\.\w+)*)`", PAGE.read_text())
    assert len(pointed) > 10
    for path in pointed:
        module = max((each for each in ORDER if path.startswith(f"{each}.")), key=len, default=None)
        assert module is not None, path
        found = importlib.import_module(f"rtcio_sync.{module}")
        for name in path.removeprefix(f"{module}.").split("."):
            assert hasattr(found, name), path
            found = getattr(found, name)


def test_imports_are_found_wherever_they_stand() -> None:
    found = own_imports("server_parts") | own_imports("server")
    assert {"relay.relay", "socketio.connect", "flask.extension"} <= found


@pytest.mark.parametrize("module", ORDER)
def test_imports_run_one_way(module: str) -> None:
    before = set(ORDER[: ORDER.index(module)])
    assert own_imports(module, types=True) <= before


def test_the_facade_imports_nothing_but_its_version() -> None:
    assert own_imports(FACADE) == {"_version"}


@pytest.mark.parametrize("module", VOCABULARY)
def test_the_vocabulary_has_no_third_party_imports(module: str) -> None:
    assert roots(foreign_imports(module)) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", [*VOCABULARY, *PURE])
def test_rules_touch_nothing_outside(module: str) -> None:
    reached = roots(foreign_imports(module)) & IMPURE
    assert reached <= {name for where, name in EXCEPT if where == module}


@pytest.mark.parametrize(
    ("foreign", "home"),
    [
        (
            "flask",
            {"flask.context", "flask.extension", "flask.commands", "pages.room_page"}
            | {
                f"flask_socketio.{name}"
                for name in ("current", "handlers", "options", "running", "testing", "extension")
            },
        ),
        ("redis", {"cluster.redis_addresses"}),
        ("prometheus_client", {"prometheus"}),
        ("gunicorn", set()),
    ],
)
def test_a_foreign_package_has_one_door(foreign: str, home: set[str]) -> None:
    users = {module for module in ORDER if foreign in roots(foreign_imports(module))}
    assert users == home


#: Who may touch the hub itself.
HUB = {
    "transport.outgoing",
    "hub.greenlet_pool",
    "hub.thread",
    "hub.turns",
    "serving.http",
    "serving.idle_connections",
    "transport.hangup",
    "transport.server_stop",
    "transport.websocket",
}


#: Private by their spelling alone: a named tuple's method, and the standard library's own.
SPELT_PRIVATE = {"_replace", "_getframe", "_exit", "_at_fork_reinit"}


def foreign_private_names(module: str) -> set[str]:
    """The private names that ``module`` uses of objects other than ``self``."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and not owner.startswith("super("):
                found.add(node.attr)
    return found


@pytest.mark.parametrize("module", ORDER)
def test_no_module_uses_another_objects_private_names(module: str) -> None:
    upstreams = {name for names in SIGNATURES.values() for name in names} | ALL_ATTRIBUTES
    used = foreign_private_names(module) - SPELT_PRIVATE - upstreams
    assert used == set()


def test_few_modules_touch_the_hub() -> None:
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
    assert users == HUB


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
