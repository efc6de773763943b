"""Recovery sessions that move between servers, with and without a connection."""

from __future__ import annotations

from typing import Any

import gevent

from rtcio_sync import Server
from tests.moving import move
from tests.reconnecting import Line
from tests.timing import until

ACTIONS = [
    "emit", "read", "move", "lose", "wait and move", "wait and move back", "follow", "send away",
    "send away and move",
]  # fmt: skip


def new_server(**recovery: Any) -> Server:
    return Server(connection_state_recovery=recovery or True)


def moved(line: Line, target: Server) -> Line:
    move(line, target)
    return line


def lose(line: Line) -> None:
    """Its connection ends, and the server has noticed it."""
    line.close()
    until(lambda: not line.server.eio.sockets)


def move_waiting(source: Server, target: Server) -> None:
    for namespace, sid in source.departing.waiting():
        packed = source.departing.pack_waiting(namespace, sid)
        assert packed.fd == -1
        assert target.departing.adopt(packed.state) == ("", [(namespace, sid)])


def follow(source: Server, target: Server, pid: str) -> None:
    """The session goes to the server that its client has reached."""
    found = source.departing.kept("/", pid)
    assert found is not None
    packed = source.departing.pack_kept("/", pid)
    assert target.departing.adopt(packed.state) == ("", [("/", found[0])])
    assert source.departing.kept("/", pid) is None and target.departing.kept("/", pid)


def send_away(source: Server, target: Server, line: Line) -> None:
    """A server that stops sends its client to another one, with its session."""
    (eio_sid,) = source.eio.sockets
    source.departing.send_away(eio_sid)
    assert source.departing.busy(eio_sid)
    line.close()
    until(lambda: not source.departing.busy(eio_sid))
    source.departing.freeze(eio_sid)
    (packed,) = source.departing.pack_away(eio_sid)
    assert target.departing.adopt(packed.state) == ("", [("/", line.sids["/"])])
    assert not source.eio.sockets and not source.environ


def check(actions: list[str]) -> None:
    server = new_server()
    first = server
    line = Line(server).connected()
    sid, heard, sent = line.sids["/"], [], 0

    def come_back() -> Line:
        made = Line(server, key).connected()
        assert made.sids["/"] == sid
        return made

    for action in actions:
        if action == "emit":
            server.emit("e", sent, to=sid)
            sent += 1
        elif action == "read":
            line.sip(40)
        elif action == "move":
            server = new_server()
            moved(line, server)
        else:
            gevent.sleep(0)
            heard += [each[1] for each in line.events]
            key = line.key()
            source = server
            if action != "lose":
                server = first if action == "wait and move back" else new_server()
            if action.startswith("send away"):
                send_away(source, server, line)
                if action == "send away and move":  # that one leaves before the client has come
                    source, server = server, new_server()
                    assert not source.departing.live()
                    move_waiting(source, server)
                    assert not source.eio.sockets and not source.environ
            else:
                lose(line)
            if action == "follow":
                follow(source, server, key["pid"])
            elif action.startswith("wait") and source is not server:
                move_waiting(source, server)
            line = come_back()
    server.emit("e", sent, to=sid)
    line.read_until(lambda: [*heard, *(each[1] for each in line.events)][-1:] == [sent])
    heard += [each[1] for each in line.events]
    assert heard == list(range(sent + 1))
    lose(line)
