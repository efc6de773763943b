"""The public names of socket.io's server, from the typings of the package on npm."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["NODE_MODULES", "public_names"]

NODE_MODULES = Path(__file__).parents[2] / "benchmarks/node/node_modules"

#: The classes and interfaces of the server's API, their names in the table, and their files.
DECLARED = {
    "Server": ("Server", "socket.io/dist/index.d.ts"),
    "ServerOptions": ("ServerOptions", "socket.io/dist/index.d.ts"),
    "ServerReservedEventsMap": ("Server event", "socket.io/dist/namespace.d.ts"),
    "Namespace": ("Namespace", "socket.io/dist/namespace.d.ts"),
    "NamespaceReservedEventsMap": ("Namespace event", "socket.io/dist/namespace.d.ts"),
    "ParentNamespace": ("ParentNamespace", "socket.io/dist/parent-namespace.d.ts"),
    "Socket": ("Socket", "socket.io/dist/socket.d.ts"),
    "SocketReservedEventsMap": ("Socket event", "socket.io/dist/socket-types.d.ts"),
    "Handshake": ("Handshake", "socket.io/dist/socket-types.d.ts"),
    "BroadcastOperator": ("BroadcastOperator", "socket.io/dist/broadcast-operator.d.ts"),
    "RemoteSocket": ("RemoteSocket", "socket.io/dist/broadcast-operator.d.ts"),
    "Client": ("Client", "socket.io/dist/client.d.ts"),
    "StrictEventEmitter": ("EventEmitter", "socket.io/dist/typed-events.d.ts"),
    "EventEmitter": ("EventEmitter", "@types/node/events.d.ts"),
    "engine ServerOptions": ("ServerOptions", "engine.io/build/server.d.ts"),
    "AttachOptions": ("ServerOptions", "engine.io/build/server.d.ts"),
    "BaseServer": ("Engine", "engine.io/build/server.d.ts"),
    "engine Server": ("Engine", "engine.io/build/server.d.ts"),
    "engine Socket": ("Connection", "engine.io/build/socket.d.ts"),
}
#: Where the engine's events are; its typings do not name them.
EMITTED = {
    "Engine event": "engine.io/build/server.js",
    "Connection event": "engine.io/build/socket.js",
}

_MEMBER = re.compile(
    r"(?:readonly |get |set |static |abstract |async )*([A-Za-z]\w*)\??\s*(?:<.*>)?\s*(?=[(:])"
)


@cache
def public_names() -> dict[str, list[str]]:
    """By class: its public names, in the order of the typings."""
    found: dict[str, dict[str, None]] = {}
    for declared, (title, path) in DECLARED.items():
        names = found.setdefault(title, {})
        for line in _members(_text(path), declared.rpartition(" ")[2]):
            member = _MEMBER.match(line)
            private = re.match(r"(?:private|protected|constructor|\[|_)", line)
            if member is not None and not private:
                names[member[1]] = None
    for title, path in EMITTED.items():
        emitted = re.findall(r"this\.emit\(\s*\"(\w+)\"", _text(path))
        found[title] = dict.fromkeys(emitted)
    exported = re.findall(r"^export \{([^}]*)\}", _text("socket.io/dist/index.d.ts"), re.M)
    found["Types"] = dict.fromkeys(re.findall(r"\w+", " ".join(exported)))
    return {title: list(names) for title, names in found.items()}


def _text(path: str) -> str:
    return (NODE_MODULES / path).read_text(encoding="utf-8")


def _members(text: str, name: str) -> list[str]:
    """The lines of the members of a class or an interface, each without its body."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^\s*//.*$", "", text, flags=re.M)
    kind = r"^\s*(?:export )?(?:declare )?(?:abstract )?(?:class|interface)"
    declared = re.finditer(rf"{kind} {name}\b", text, re.M)
    return max((_lines(text, _body(text, each.end())) for each in declared), key=len)


def _lines(text: str, start: int) -> list[str]:
    lines: list[str] = []
    depth, line = 0, ""
    for each in text[start:]:
        if each == "}" and depth == 0:
            break
        depth += (each in "({[") - (each in ")}]")
        if each == ";" and depth == 0:
            lines.append(" ".join(line.split()))
            line = ""
        else:
            line += each
    return [line for line in lines if line]


def _body(text: str, at: int) -> int:
    """Where the body begins: at the first brace that is in no type parameter."""
    depth = 0
    for index in range(at, len(text)):
        each = text[index]
        if each == "<":
            depth += 1
        elif each == ">" and text[index - 1] != "=":
            depth -= 1
        elif each == "{" and depth == 0:
            return index + 1
    raise AssertionError("no body")
