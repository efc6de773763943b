"""The table of socket.io's server API: no public name is without a row, and each row holds."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rtcio_sync
from rtcio_sync.config.node_options import NODE_OPTIONS
from rtcio_sync.socketio.server_engine import EngineView
from rtcio_sync.socketio.socket_conn import Client, Connection
from tests.docs.pages import ROOT
from tests.docs.typings import NODE_MODULES, public_names

PAGE = ROOT / "docs/coming-from-node.md"

#: The headings of the page, and what they are called in the typings.
HEADINGS = {
    "`Server` (in Node often `io`)": "Server",
    "Events of `Server`": "Server event",
    "`Namespace` (`io.of(…)`)": "Namespace",
    "Events of `Namespace` and `Server`": "Namespace event",
    "`ParentNamespace` (`io.of(/…/)`)": "ParentNamespace",
    "`Socket`": "Socket",
    "Events of `Socket`": "Socket event",
    "`Handshake` (`socket.handshake`)": "Handshake",
    "`BroadcastOperator` (`io.to(…)`)": "BroadcastOperator",
    "`RemoteSocket` (`io.fetchSockets()`)": "RemoteSocket",
    "`Client` (`socket.client`)": "Client",
    "`EventEmitter` (each `Socket` is one)": "EventEmitter",
    "`Engine` (`io.engine`)": "Engine",
    "Events of `Engine`": "Engine event",
    "`Connection` (`socket.conn`)": "Connection",
    "Events of `Connection`": "Connection event",
    "`ServerOptions`": "ServerOptions",
    "Types": "Types",
}
#: Classes that an app gets, and does not import.
UNEXPORTED = {"Client": Client, "Connection": Connection, "EngineView": EngineView}


class Row(NamedTuple):
    """What a name of Node is called here, and the test of it; empty: it is not here."""

    name: str
    here: str
    test: str


@cache
def table() -> dict[str, list[Row]]:
    _, _, whole = PAGE.read_text().partition("\n## The whole API\n")
    found: dict[str, list[Row]] = {}
    for part in whole.partition("\n## ")[0].split("\n### ")[1:]:
        heading, _, text = part.partition("\n")
        rows = re.findall(r"^\| `(\w+)[^|]*` \| (.*) \| (.*) \|$", text, re.M)
        found[HEADINGS[heading]] = [
            Row(name, here, test.strip("`").removeprefix("none")) for name, here, test in rows
        ]
    return found


ROWS = [(title, row) for title, rows in table().items() for row in rows]


def test_the_typings_are_those_of_socket_io_4_8() -> None:
    text = (NODE_MODULES / "socket.io/package.json").read_text()
    assert '"version": "4.8.' in text


def test_the_typings_are_read_to_their_ends() -> None:
    names = public_names()
    assert {"use", "timeout", "disconnectSockets"} <= set(names["Server"])
    assert {"nsp", "emitWithAck", "listenersAnyOutgoing"} <= set(names["Socket"])
    assert {"cors", "path", "cleanupEmptyChildNamespaces"} <= set(names["ServerOptions"])
    assert {"removeAllListeners", "once"} <= set(names["EventEmitter"])
    assert "connection_error" in names["Engine event"]


@pytest.mark.parametrize("title", HEADINGS.values())
def test_every_public_name_of_node_has_a_row(title: str) -> None:
    assert {row.name for row in table()[title]} == set(public_names()[title])
    assert len({row.name for row in table()[title]}) == len(table()[title])


@pytest.mark.parametrize(("title", "row"), ROWS, ids=lambda each: getattr(each, "name", each))
def test_what_a_row_names_exists(title: str, row: Row) -> None:
    if row.here.startswith("not here: "):
        assert len(row.here) > 25, "a name that is not here needs the reason"
    else:
        assert row.here.startswith("`"), row
    for path in re.findall(r"`((?:[A-Z]\w+)(?:\.\w+)*)`", row.here):
        found: Any = rtcio_sync
        for name in path.split("."):
            found = UNEXPORTED.get(name) or getattr(found, name, None)
            assert found is not None or _is_attribute(path), path


def _is_attribute(path: str) -> bool:
    """Whether an object of the class has it: its constructor sets it, or a field's default is."""
    kind, _, name = path.partition(".")
    owner: Any = UNEXPORTED.get(kind) or getattr(rtcio_sync, kind)
    objects = {"Server": rtcio_sync.Server, "Namespace": lambda: rtcio_sync.Server().of("/")}
    if kind in objects:
        return hasattr(objects[kind](), name)
    known = {*getattr(owner, "__dataclass_fields__", ()), *getattr(owner, "__slots__", ())}
    if kind == "ParentNamespace":
        known.add("children")
    return name in known


def test_the_options_are_printed_as_the_server_says_them() -> None:
    found = table()["ServerOptions"]
    assert [row.name for row in found] == list(NODE_OPTIONS)
    page = PAGE.read_text()
    for row, option in zip(found, NODE_OPTIONS.values(), strict=True):
        note = f" ({option.note})" if option.note else ""
        here = f"`{option.here}`{note}" if option.here else f"not here: {option.note}"
        assert row.here == here
        assert f"| `{option.node}` | {here} |" in page


@pytest.mark.parametrize(("title", "row"), ROWS, ids=lambda each: getattr(each, "name", each))
def test_the_test_of_a_row_exists(title: str, row: Row) -> None:
    if not row.test:
        assert row.here.startswith("not here: "), "what is here needs a test"
        return
    path, _, name = row.test.partition("::")
    text = Path(ROOT / "tests" / path).read_text()
    assert re.search(rf"^def {name}\(", text, re.M), row.test
