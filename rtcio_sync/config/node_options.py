"""The options of Socket.IO's server on Node, and what to write here. Pure.

The guide for users of Node prints this table, and a server that gets one of these names says what
it has in its place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["NODE_OPTIONS", "NodeOption", "instead_of"]


class NodeOption(NamedTuple):
    """One option of Node's ``ServerOptions``."""

    #: As it is written there, with a usual value.
    node: str
    #: The same here; empty: there is nothing to write.
    here: str = ""
    #: The unit of ours, what else to know, or why there is nothing to write.
    note: str = ""

    @property
    def in_milliseconds(self) -> bool:
        """Whether Node's is a number of milliseconds, and ours of seconds."""
        return self.note == _SECONDS

    @property
    def said(self) -> str:
        """What to write, as the part of a sentence."""
        if not self.here:
            return f"leave it out: {self.note}"
        return f"{self.here}, {self.note}" if self.note else self.here


_SECONDS = "in seconds"
LEAST = 100  # a smaller number is hardly meant as milliseconds

#: By name.
NODE_OPTIONS: dict[str, NodeOption] = {
    each.node.partition(":")[0]: each
    for each in (
        NodeOption("path: '/chat'", "path='/chat'"),
        NodeOption("serveClient: true", note="take socket.io-client from npm or a CDN"),
        NodeOption(
            "adapter: createAdapter(pub, sub)",
            "cluster='redis://…'",
            "or client_manager, a python-socketio client manager",
        ),
        NodeOption(
            "parser: msgpackParser", "serializer='msgpack'", "or 'default', or a packet class"
        ),
        NodeOption("connectTimeout: 45000", "limits=Limits(connect_timeout=45)", _SECONDS),
        NodeOption(
            "connectionStateRecovery: {maxDisconnectionDuration: 120000}",
            "connection_state_recovery={'max_disconnection_duration': 120}",
            "with times in seconds",
        ),
        NodeOption(
            "cleanupEmptyChildNamespaces: true",
            note="an empty child of a dynamic namespace is always removed",
        ),
        NodeOption("pingTimeout: 20000", "ping_timeout=20", _SECONDS),
        NodeOption("pingInterval: 25000", "ping_interval=25", _SECONDS),
        NodeOption("upgradeTimeout: 10000", "limits=Limits(handshake_timeout=10)", _SECONDS),
        NodeOption("maxHttpBufferSize: 1e6", "max_http_buffer_size=1_000_000", "in bytes"),
        NodeOption(
            "allowRequest: (req, fn) => fn(null, allows(req))",
            "cors_allowed_origins=lambda origin, environ: True",
            "or a connect handler that returns False",
        ),
        NodeOption("transports: ['websocket']", "transports=['websocket']"),
        NodeOption("allowUpgrades: false", "allow_upgrades=False"),
        NodeOption(
            "perMessageDeflate: true",
            note="messages on a WebSocket are never compressed; http_compression is for polling",
        ),
        NodeOption(
            "httpCompression: {threshold: 1024}",
            "compression_threshold=1024",
            "in bytes; http_compression is True or False",
        ),
        NodeOption("wsEngine: eiows.Server", note="the server has its own WebSockets"),
        NodeOption("initialPacket: 'hi'", note="emit in a connection handler"),
        NodeOption(
            "cookie: {name: 'io'}",
            "cookie={'name': 'io', 'Path': '/', 'HttpOnly': True, 'SameSite': 'Lax'}",
        ),
        NodeOption(
            "cors: {origin: 'https://example.com'}",
            "cors_allowed_origins='https://example.com'",
            "an origin, a list of them, or '*'",
        ),
        NodeOption(
            "allowEIO3: true",
            note="only clients of Engine.IO 4 (socket.io-client 3 and 4) are served",
        ),
        NodeOption("destroyUpgrade: false", note="all other requests go to the app"),
        NodeOption("destroyUpgradeTimeout: 1000", note="all other requests go to the app"),
        NodeOption("addTrailingSlash: false", note="the path is served with and without its slash"),
    )
}


def instead_of(name: str, value: Any = None) -> str | None:
    """What to write instead of ``name``, as the end of a sentence; `None`: it is none of Node's.

    ``value``: what was given for it: milliseconds are told in seconds.
    """
    found = NODE_OPTIONS.get(name)
    if found is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if found.in_milliseconds and number and value >= LEAST:
        usual = found.node.partition(": ")[2]
        here = found.here.replace(f"={int(usual) // 1000}", f"={value / 1000:g}")
        return f"write {here}, in seconds: Node's {name}: {value:g} is in milliseconds"
    return found.said if not found.here else f"write {found.said}"
