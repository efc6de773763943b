"""Recovery sessions that go on in another process, with and without a connection."""

from __future__ import annotations

import json
from typing import Any

import gevent
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import Server
from tests.clients import still_held
from tests.engineio.clients import timed
from tests.moving import move
from tests.reconnecting import Line, leftovers
from tests.timing import settle, until


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


def test_a_client_that_moved_comes_back_to_what_it_missed() -> None:
    old, new = new_server(), new_server()
    line = Line(old).connected()
    sid = line.sids["/"]
    old.emit("e", 1, to=sid)
    old.emit("e", 2, to=sid)
    line.read_until(lambda: len(line.events) == 2)
    old.emit("e", 3, to=sid)  # the client will not read it
    moved(line, new)
    new.emit("e", 4, to=sid)
    lose(line)
    new.emit("e", 5, to=sid)
    again = Line(new, line.key()).connected()
    again.read_until(lambda: len(again.events) == 3)
    assert again.events == [["e", 3], ["e", 4], ["e", 5]]
    assert again.sids == {"/": sid}
    assert new.of("/").sockets[sid].recovered and not new.of("/").sockets[sid].moved


def test_a_session_that_waits_goes_along_with_its_rooms_its_data_and_its_time() -> None:
    old, new = new_server(max_disconnection_duration=10), new_server(max_disconnection_duration=10)
    forward_old, forward = timed(old.eio), timed(new.eio)
    for server in (old, new):
        server.recovery.now = server.eio.heartbeat.now  # type: ignore[union-attr]
        server.recovery.later = server.eio.heartbeat.later  # type: ignore[union-attr]
    line = Line(old).connected()
    sid = line.sids["/"]
    old.enter_room(sid, "tea")
    old.of("/").sockets[sid].data["name"] = "Ada"
    old.save_session(sid, {"user": 1})
    lose(line)
    old.emit("missed", 1, to="tea")
    forward_old(6)
    move_waiting(old, new)
    assert leftovers(old) == {}
    new.emit("missed", 2, to="tea")
    assert new.stats()["away"] == 1
    forward(3)
    again = Line(new, line.key()).connected()
    again.read_until(lambda: len(again.events) == 2)
    assert again.events == [["missed", 1], ["missed", 2]]
    assert new.of("/").sockets[sid].data == {"name": "Ada"}
    assert new.get_session(sid) == {"user": 1}
    lose(again)
    third = new_server()
    move_waiting(new, third)
    assert leftovers(new) == {}


def test_a_session_that_waits_ends_in_the_other_process_when_its_time_is_over() -> None:
    old, new = new_server(max_disconnection_duration=10), new_server(max_disconnection_duration=10)
    forward_old, forward = timed(old.eio), timed(new.eio)
    for server in (old, new):
        server.recovery.now = server.eio.heartbeat.now  # type: ignore[union-attr]
        server.recovery.later = server.eio.heartbeat.later  # type: ignore[union-attr]
    line = Line(old).connected()
    lose(line)
    forward_old(6)
    move_waiting(old, new)
    forward(3.9)
    settle()
    assert new.stats()["away"] == 1
    forward(0.2)
    settle()
    assert leftovers(new) == {} and still_held(new) == {}


def test_events_that_were_dropped_before_the_move_are_not_passed_over() -> None:
    old, new = new_server(max_recovery_bytes=200), new_server(max_recovery_bytes=200)
    line = Line(old).connected()
    sid = line.sids["/"]
    for number in range(20):
        old.emit("e", number, to=sid)
    line.read_until(lambda: line.events)
    moved(line, new)
    lose(line)
    line.offset = json.loads(_event(old, 1))
    again = Line(new, line.key()).connected()
    assert again.sids["/"] != sid


def _event(server: Server, number: int) -> str:
    assert server.recovery is not None
    return json.dumps(server.recovery.spelt(number))


ACTIONS = st.lists(
    st.sampled_from(["emit", "read", "move", "lose", "wait and move"]), min_size=1, max_size=14
)


@settings(max_examples=10, deadline=None)
@given(ACTIONS)
def test_every_event_comes_once_and_in_order_whatever_happens(actions: list[str]) -> None:
    check(actions)


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
