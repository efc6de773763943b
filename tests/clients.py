"""Clients of a server in this process: they speak Socket.IO, and there is no network between.

Their transports are those of tests/engineio/clients.py. All else is as in production: the engine,
the inboxes and their greenlets, the handlers, and gevent's hub for a WebSocket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
from socketio.packet import CONNECT

from rtcio_sync import Server
from tests.engineio import clients as transports
from tests.timing import in_time, until


def still_held(server: Server) -> Any:
    """What a server still holds of its clients; nothing, once all have left."""
    manager, links = server.manager, list(server.eio.sockets.values())
    return {
        name: held
        for name, held in {
            "rooms": manager.rooms,
            "members": manager.members,
            "by connection": manager._by_eio_sid,
            "callbacks": manager.callbacks,
            "environ": server.environ,
            # A closed one may be kept for a while, with a last word for the next poll.
            "connections": [each for each in links if not each.closed],
            "partial packets": server._binary_packet,
        }.items()
        if held
    }


class Client(transports.Client):
    """One connection, which may join several namespaces: what both transports share."""

    server: Server

    def __init__(self) -> None:
        self.sids: dict[str, str] = {}
        self.queue: list[str] = []

    @property
    def sid(self) -> str:
        return self.sids["/"]

    @property
    def member(self) -> Any:
        """The server's side of the socket in ``/``."""
        return self.server.manager.member_of(self.eio_sid, "/")

    def send(self, *packets: str | bytes) -> None:
        """Sends Socket.IO packets; bytes are attachments."""
        raise NotImplementedError

    def more(self) -> list[str]:
        """Waits for Engine.IO packets: text with the type in front, attachments as ``b`` base64."""
        raise NotImplementedError

    # -- to the server ---------------------------------------------------------------------------

    def emit(self, *arguments: Any, namespace: str = "/", number: int | None = None) -> None:
        self.send(event(*arguments, namespace=namespace, number=number))

    def relay(self, target: str, data: Any, namespace: str = "/") -> None:
        envelope = {"source": self.sids[namespace], "target": target, "data": data}
        self.emit("#rtcio:message", envelope, namespace=namespace)

    def ask_to_join(self, namespace: str = "/", auth: Any = None) -> None:
        """Sends CONNECT and waits for nothing."""
        where = "" if namespace == "/" else f"{namespace},"
        self.send(f"0{where}{'' if auth is None else json.dumps(auth)}")

    def join(self, namespace: str = "/", auth: Any = None) -> Any:
        """Sends CONNECT and waits for its answer, which has to be the sid."""
        self.ask_to_join(namespace, auth)
        return self.joined(namespace)

    def joined(self, namespace: str = "/") -> Any:
        """Waits for the answer to CONNECT, which has to be the sid."""
        where = "" if namespace == "/" else f"{namespace},"
        answer = self.next(lambda packet: packet[:1] in ("0", "4"))
        assert answer.startswith(f"0{where}{{"), answer
        self.sids[namespace] = json.loads(answer[1 + len(where) :])["sid"]
        return self

    # -- from the server -------------------------------------------------------------------------

    def next(self, fits: Callable[[str], bool] = lambda packet: True) -> str:
        """The next Socket.IO packet that ``fits``, without Engine.IO's type; others stay queued."""
        with in_time():
            while True:
                for packet in self.queue:
                    if fits(packet):
                        self.queue.remove(packet)
                        return packet
                for packet in self.more():
                    if packet == "2":  # PING: the test has taken that long
                        self.say("3")
                        continue
                    assert packet[0] in "4b", packet
                    self.queue.append(packet if packet[0] == "b" else packet[1:])

    def packets(self, namespace: str = "/") -> list[str]:
        """All Socket.IO packets up to now: emits one more event, and waits for it."""
        self.server.emit("fence", to=self.sids[namespace], namespace=namespace)
        fence = event("fence", namespace=namespace)
        self.next(lambda packet: packet == fence)
        taken, self.queue = self.queue, []
        return taken

    def events(self, namespace: str = "/") -> list[Any]:
        """The events up to now: ``[name, argument, …]`` of each."""
        where = "" if namespace == "/" else f"{namespace},"
        head = f"2{where}["
        return [
            json.loads(packet[len(head) - 1 :])
            for packet in self.packets(namespace)
            if packet.startswith(head)
        ]

    def heard(self, name: str, namespace: str = "/") -> list[Any]:
        """The first argument of each event of that name, up to now."""
        return [each[1] for each in self.events(namespace) if each[0] == name]


class Polling(transports.Polling, Client):
    """A client on polling. ``app``: the WSGI application to call; by default the server's own."""

    def __init__(
        self,
        server: Server,
        *,
        app: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        Client.__init__(self)
        self.server = server
        app = app if app is not None else server.handle_request
        super().__init__(server.eio, app=app, path=f"{server.path}/", headers=headers, query=query)


class WebSocket(transports.WebSocket, Client):
    """A client on a WebSocket, after its handshake; the server's side is driven by the hub.

    ``upgrading``: the polling client whose transport it wants to become.
    """

    def __init__(self, server: Server, upgrading: Polling | None = None) -> None:
        Client.__init__(self)
        self.server = server
        if upgrading is not None:
            self.sids = upgrading.sids
        super().__init__(server.eio, upgrading)


def event(*arguments: Any, namespace: str = "/", number: int | None = None) -> str:
    """An event as a Socket.IO packet's text."""
    where = "" if namespace == "/" else f"{namespace},"
    text = json.dumps(arguments, separators=(",", ":"))
    return f"2{where}{'' if number is None else number}{text}"


#: The clients of a server, by their transport.
TRANSPORTS: dict[str, Callable[[Server], Client]] = {"polling": Polling, "websocket": WebSocket}


def packed(server: Server) -> bool:
    """Whether its packets are MessagePack, and not text."""
    return not server.packet_class.uses_binary_events


def say(client: Client, kind: int, data: Any, number: int | None = None) -> None:
    """Sends a packet that has no attachments, as the server's packet class has it."""
    if packed(client.server):
        pkt = {"type": kind, "nsp": "/", "data": data}
        client.send(msgpack.packb(pkt if number is None else {**pkt, "id": number}))
    else:
        text = "" if data is None else json.dumps(data, separators=(",", ":"))
        client.send(f"{kind}{'' if number is None else number}{text}")


def joined(server: Server, transport: str = "websocket") -> Client:
    """A client in ``/``, whatever the server's packet class."""
    client = TRANSPORTS[transport](server)
    say(client, CONNECT, None)
    until(lambda: client.member is not None and client.member.ready)
    client.sids["/"] = client.member.sid
    return client
