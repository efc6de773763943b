"""Recovery sessions that go on in another process, with and without a connection."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import Server
from rtcio_sync.cluster.messages import decoded, encoded
from rtcio_sync.errors import CannotMove, ProtocolError
from rtcio_sync.socketio.session_state import SessionBytes
from tests.clients import WebSocket, still_held
from tests.engineio.clients import timed
from tests.moving import pack
from tests.moving_sessions import ACTIONS, check, lose, move_waiting, moved, new_server
from tests.reconnecting import Line, leftovers, life
from tests.timing import settle, until


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


def two_with_a_clock() -> tuple[Server, Server, Callable[[float], None], Callable[[float], None]]:
    """Two servers whose sessions wait for ten seconds, and what moves their clocks on."""
    old, new = new_server(max_disconnection_duration=10), new_server(max_disconnection_duration=10)
    forward_old, forward = timed(old.eio), timed(new.eio)
    for server in (old, new):
        server.recovery.now = server.eio.heartbeat.now  # type: ignore[union-attr]
        server.recovery.later = server.eio.heartbeat.later  # type: ignore[union-attr]
    return old, new, forward_old, forward


def test_a_session_that_waits_goes_along_with_its_rooms_its_data_and_its_time() -> None:
    old, new, forward_old, forward = two_with_a_clock()
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


def test_a_session_that_waits_goes_along_if_the_app_saved_one_in_another_namespace() -> None:
    old, new = new_server(), new_server()
    line = Line(old).connected()
    (link,) = old.eio.sockets.values()
    link.session["/other"] = {"user": 1}
    lose(line)
    move_waiting(old, new)
    again = Line(new, line.key()).connected()
    assert again.sids == line.sids and new.get_session(line.sids["/"]) == {}


def test_a_client_whose_ping_is_about_to_be_sent_gets_it_at_once_in_the_other_process() -> None:
    server = new_server()
    forward = timed(server.eio)
    clients = [WebSocket(server).join() for _ in range(40)]
    last = server.eio.sockets[clients[-1].eio_sid]
    seen: list[float] = []
    # Called between two parts of a batch of PINGs.
    server.eio.sleep = lambda seconds: seen.append(server.eio.heartbeat.state(last).ping_in)
    forward(server.eio.ping_interval + 1)
    assert seen[0] <= 0


def test_a_session_that_waits_ends_in_the_other_process_when_its_time_is_over() -> None:
    old, new, forward_old, forward = two_with_a_clock()
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


@pytest.mark.parametrize("moves", [1, 2])
def test_the_end_of_a_session_that_moved_while_it_waited_is_heard_of_once(moves: int) -> None:
    old, new, _, forward = two_with_a_clock()
    third = new_server()
    told, late = life(old), life(new)
    life(third)
    line = Line(old).connected()
    sid = line.sids["/"]
    lose(line)
    if moves == 2:
        move_waiting(old, third)
        old = third
    move_waiting(old, new)
    settle()
    assert late == []
    forward(10.1)
    settle()
    assert late == [("connection", sid, True), ("session end", sid)]
    assert told == [("connection", sid, False), *ended(sid)]
    assert leftovers(new) == {}


def test_an_app_context_that_fails_at_the_end_of_a_moved_session_is_an_error_of_the_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new, _, forward = two_with_a_clock()
    life(old), life(new)
    lose(Line(old).connected())
    move_waiting(old, new)
    settle()
    monkeypatch.setattr(new.dispatcher, "context", lambda *args: 1 / 0)
    forward(10.1)
    settle()
    assert new.stats()["handler_errors"] == 1
    assert leftovers(new) == {} and still_held(new) == {}


def test_the_end_of_a_session_whose_connection_was_lost_as_it_moved_is_heard_of() -> None:
    old, new, _, forward = two_with_a_clock()
    life(old)
    late = life(new)
    line = Line(old).connected()
    sid = line.sids["/"]
    packed = pack(old, line.eio_sid)
    new.departing.adopt(packed.state)
    os.close(packed.fd)
    forward(10.1)  # nobody attaches it
    settle()
    assert late == [] and new.stats()["away"] == 1
    forward(10.1)
    settle()
    assert late == [("connection", sid, True), ("session end", sid)]


def test_who_comes_back_after_a_move_hears_of_the_end_of_its_session_once() -> None:
    old, new, _, forward = two_with_a_clock()
    life(old)
    late = life(new)
    line = Line(old).connected()
    sid = line.sids["/"]
    lose(line)
    move_waiting(old, new)
    again = Line(new, line.key()).connected()
    until(lambda: late)
    lose(again)
    forward(10.1)
    settle()
    assert late == [("connection", sid, True), *ended(sid), ("session end", sid)]


def test_of_an_app_that_wants_to_hear_of_no_end_no_handler_runs_for_a_session_that_waits() -> None:
    old, new, _, forward = two_with_a_clock()
    late: list[Any] = []
    old.of("/").on("connection")(lambda socket: None)
    new.of("/").on("connection")(late.append)
    lose(Line(old).connected())
    move_waiting(old, new)
    forward(10.1)
    settle()
    assert late == [] and leftovers(new) == {}


@pytest.mark.parametrize("has_recovery", [False, True])
def test_a_session_that_its_client_could_not_find_is_not_taken(has_recovery: bool) -> None:
    old, new = new_server(), new_server() if has_recovery else Server()
    lose(Line(old).connected())
    ((namespace, sid),) = old.departing.waiting()
    state = old.departing.pack_waiting(namespace, sid).state
    if has_recovery:
        found = decoded(SessionBytes, state)
        found.members[0].session = None
        state = encoded(found)
    with pytest.raises(ProtocolError):
        new.departing.adopt(state)
    assert not new.manager.members and not new.eio.sockets


def sent_away(server: Server, client: WebSocket) -> str:
    """The connection of a client that was told to connect to another host."""
    (eio_sid,) = server.eio.sockets
    server.departing.send_away(eio_sid)
    client.close()
    until(lambda: not server.departing.busy(eio_sid))
    server.departing.freeze(eio_sid)
    return str(eio_sid)


def test_of_a_client_with_several_sockets_all_are_sent_away_or_none() -> None:
    server = new_server()
    server.of("/more").on("connection")(lambda socket: None)
    client = WebSocket(server).join().join("/more")
    first, second = client.sids["/"], client.sids["/more"]
    server.save_session(second, {"file": object()}, "/more")
    eio_sid = sent_away(server, client)
    with pytest.raises(CannotMove):
        server.departing.pack_away(eio_sid)
    assert server.manager.member(first, "/") and server.manager.member(second, "/more")
    server.save_session(second, {"file": 1}, "/more")
    assert len(server.departing.pack_away(eio_sid)) == 2


def test_what_belongs_to_a_socket_is_packed_once_when_it_is_sent_away() -> None:
    server = new_server()
    packed: list[str] = []

    class Noted:
        def pack(self, member: Any) -> None:
            packed.append(member.sid)

        def leave(self, member: Any) -> None: ...

        def enter(self, member: Any, value: Any) -> None: ...

    server.departing.parts["noted"] = Noted()
    client = WebSocket(server).join()
    server.departing.pack_away(sent_away(server, client))
    assert packed == [client.sids["/"]]


def ended(sid: str) -> list[Any]:
    return [("disconnecting", sid), ("disconnect", sid, "transport close")]


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


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=14))
def test_every_event_comes_once_and_in_order_whatever_happens(actions: list[str]) -> None:
    check(actions)
