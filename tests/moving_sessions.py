"""Recovery sessions that move between servers, with and without a connection."""

from __future__ import annotations

from typing import Any

import gevent

from rtcio_sync import Server
from tests.moving import move
from tests.reconnecting import Line
from tests.timing import until

ACTIONS = ["emit", "read", "move", "lose", "wait and move"]


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
        assert packed.members == [(namespace, sid)] and packed.fd == -1
        assert target.departing.adopt(packed.state) == ("", packed.members)


def check(actions: list[str]) -> None:
    server = new_server()
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
            lose(line)
            if action == "wait and move":
                source, server = server, new_server()
                move_waiting(source, server)
            line = come_back()
    server.emit("e", sent, to=sid)
    line.read_until(lambda: [*heard, *(each[1] for each in line.events)][-1:] == [sent])
    heard += [each[1] for each in line.events]
    assert heard == list(range(sent + 1))
    lose(line)
