"""``async_mode="threading"``: two threads that come to the same few lines at once.

Here: sockets, their rooms and their sessions.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from rtcio_sync import Server
from rtcio_sync.adapter.member import Member, Stage
from rtcio_sync.adapter.session_log import Session
from rtcio_sync.socketio import socket as socket_module
from tests.clients import Polling, still_held
from tests.threads import Second, away, comes_on_a_wire, joined, slowed
from tests.timing import DEADLINE, wait_until


def test_the_end_of_a_socket_is_counted_and_handled_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    server.on("disconnect", lambda sid, reason: ended.append(reason))
    sid = joined(server).sids["/"]
    member = server.manager.member(sid, "/")
    reason = "client namespace disconnect"
    second = Second(lambda: server.disconnecting.disconnect(member, reason))
    before = server.manager.pre_disconnect

    def slowly(*args: Any) -> Any:
        second.comes()
        return before(*args)

    monkeypatch.setattr(server.manager, "pre_disconnect", slowly)
    server.disconnecting.disconnect(member, reason)
    second.ends()
    assert ended == ["client disconnect"]
    assert server.stats()["disconnects"] == 1


def test_a_session_that_two_threads_end_at_once_ends_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.on_session_end(lambda: ended.append(socket.id))

    client = joined(server, "tea")
    sid = client.sids["/"]
    client.link.close(abort=True, reason="transport close")
    wait_until(lambda: server.stats()["away"] == 1)
    member = server.manager.member(sid, "/")
    wait_until(lambda: member.stage is Stage.AWAY)
    second = Second(lambda: server.disconnecting.end(member))
    before = server.manager.disconnect

    def slowly(*args: Any, **options: Any) -> None:
        second.comes()
        before(*args, **options)

    monkeypatch.setattr(server.manager, "disconnect", slowly)
    server.disconnecting.end(member)
    second.ends()
    wait_until(lambda: ended)
    server.eio.start_background_task(ended.append, "the end").join()
    assert ended == [sid, "the end"]
    assert server.stats()["handler_errors"] == 0


def test_a_room_is_not_dropped_under_one_who_joins_it(server: Server) -> None:
    last, new = joined(server, "tea").sids["/"], joined(server).sids["/"]
    second = Second(lambda: server.enter_room(new, "tea"))

    class Room(dict[str, str]):
        number = 1

        def __len__(self) -> int:
            size = super().__len__()
            if not size:
                second.comes()
            return size

    server.manager.rooms["/"]["tea"] = Room(server.manager.rooms["/"]["tea"])
    server.leave_room(last, "tea")
    second.ends()
    assert [sid for sid, _ in server.manager.get_participants("/", "tea")] == [new]


def test_who_comes_as_the_last_one_leaves_its_namespace_is_known(server: Server) -> None:
    last = joined(server)
    came: list[Any] = []
    second = Second(lambda: came.append(server.manager.pre_connect("another", "/")))

    class Members(dict[str, Any]):
        def __len__(self) -> int:
            size = super().__len__()
            if not size:
                second.comes()
            return size

    server.manager.members["/"] = Members(server.manager.members["/"])
    server.manager.disconnect(last.sids["/"], "/")
    second.ends()
    assert server.manager.member(came[0], "/") is not None
    assert server.manager.member_of("another", "/") is not None


def test_the_last_two_of_a_namespace_may_leave_it_at_once(server: Server) -> None:
    one, other = joined(server).sids["/"], joined(server).sids["/"]
    second = Second(lambda: server.manager.disconnect(other, "/"))
    server.manager.on_leave.append(lambda member, room: second.comes())
    server.enter_room(one, "tea")
    server.manager.disconnect(one, "/")
    second.ends()
    assert still_held(server)["environ"], "the connections live on"
    assert not server.manager.members
    assert not server.manager.rooms


def test_two_threads_that_ask_for_a_socket_get_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(server)
    before = socket_module.Handshake

    def listens() -> None:
        (socket,) = server.fetch_sockets()
        socket.on("tea", print)

    second = Second(listens)

    def slowly(*args: Any) -> Any:
        second.comes()
        return before(*args)

    monkeypatch.setattr(socket_module, "Handshake", slowly)
    (socket,) = server.fetch_sockets()
    second.ends()
    assert socket.event_names() == ["tea"]


def test_a_session_that_ends_while_an_event_is_kept_keeps_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = joined(server).sids["/"]
    recovery = server.recovery
    assert recovery is not None
    second = Second(lambda: recovery.close(server.manager.member(sid, "/")))
    before = Session.append

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(Session, "append", slowly)
    server.emit("news", 1, to=sid)
    second.ends()
    assert recovery.bytes == 0


def test_an_event_may_be_sent_while_what_a_client_has_missed_is_looked_up(server: Server) -> None:
    member = away(server)
    for number in range(3):
        server.emit("news", number, to=member.sid)
    second = Second(lambda: server.emit("news", 3, to=member.sid))

    class Log(deque[Any]):
        def __reversed__(self) -> Iterator[Any]:
            for each in super().__reversed__():
                yield each
                second.comes()

    member.session._log = Log(member.session._log)
    assert len(member.session.missed(None)) == 3
    second.ends()
    assert len(member.session.missed(None)) == 4


def test_a_connection_may_be_lost_while_the_kept_events_are_tidied(server: Server) -> None:
    kept, lost = joined(server).sid, server.manager.member(joined(server).sid, "/")
    recovery = server.recovery
    assert recovery is not None
    second = Second(lambda: recovery.lost(lost))

    class Dropped:
        def keeps(self, number: int) -> bool:
            second.comes()
            return False

        def lose(self, number: int) -> bool:
            return False

    recovery._sessions["dropped"] = Dropped()  # type: ignore[assignment]
    for _ in range(1100):
        recovery._order += (0, "dropped")
    recovery._places += 1100
    recovery._most = 0  # so that a lost session has the oldest events dropped
    server.emit("news", 1, to=kept)
    second.ends()
    assert recovery.away == 1
    del recovery._sessions["dropped"]


@pytest.mark.parametrize("recovery", [True, False])
def test_no_relay_comes_before_what_waits_for_the_connect_packet(
    server: Server, monkeypatch: pytest.MonkeyPatch, recovery: bool
) -> None:
    a, (b, wire) = joined(server), comes_on_a_wire(server)
    before = server.manager.release

    def relays() -> None:
        target = server.manager.member_of(b.eio_sid, "/")
        assert target is not None
        if not recovery:
            target.session = None
        source = f'"source":"{a.sid}","target":"{target.sid}"'
        binary = f'{{{source},"data":{{"_placeholder":true,"num":0}}}}'
        server.eio.arrive(a.link, f'451-["#rtcio:message",{binary}]'.encode(), False)
        server.eio.arrive(a.link, b"attached", True)
        server.eio.arrive(a.link, f'42["#rtcio:message",{{{source},"data":2}}]'.encode(), False)
        server.relay.from_node(
            target.sid, "/", f'42["#rtcio:message",{{{source},"data":3}}]'.encode()
        )

    second = Second(relays)

    def slowly(member: Member) -> None:
        second.comes()
        before(member)

    monkeypatch.setattr(server.manager, "release", slowly)
    b.ask_to_join()
    wait_until(lambda: len(wire.sent) >= 5)
    second.ends()
    assert [re.findall(r'^40|^451|^attached|"data":\d', each) for each in wire.sent] == [
        *(["40"], ["451"], ["attached"], ['"data":2'], ['"data":3'])
    ]


@pytest.mark.parametrize("call", ["connect", "release"])
def test_who_is_put_out_at_the_moment_of_the_connect_packet_is_told_so_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    client, wire = comes_on_a_wire(server)
    second = Second(lambda: server.disconnect(server.manager.member_of(client.eio_sid, "/").sid))
    before = getattr(server.manager, call)

    def slowly(*args: Any) -> Any:
        second.comes()
        return before(*args)

    monkeypatch.setattr(server.manager, call, slowly)
    client.ask_to_join()
    wait_until(lambda: "41" in wire.sent)
    second.ends()
    wait_until(lambda: not still_held(server).keys() - {"environ", "connections"})
    assert [each[:2] for each in wire.sent] == ["40", "41"]


def test_who_is_refused_just_before_the_connect_packet_gets_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, wire = comes_on_a_wire(server)
    second = Second(lambda: server.disconnect(client.member.sid), waits=True)
    before = server.connecting._accept

    def slowly(member: Member) -> Any:
        second.comes()
        return before(member)

    monkeypatch.setattr(server.connecting, "_accept", slowly)
    client.ask_to_join()
    wait_until(lambda: wire.sent)
    second.ends()
    wait_until(lambda: not still_held(server).keys() - {"environ", "connections"})
    assert [each[:2] for each in wire.sent] == ["44"]


def test_what_is_sent_while_what_waited_for_the_connect_packet_goes_out_comes_after_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, wire = comes_on_a_wire(server)

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        for number in range(3):
            server.emit("number", number, to=sid)

    second = Second(lambda: server.emit("number", 3))
    send = wire.send

    def slowly(frame: bytes) -> None:
        if b"number" in frame:
            second.comes()
        send(frame)

    monkeypatch.setattr(wire, "send", slowly)
    client.ask_to_join()
    wait_until(lambda: len(wire.sent) == 5)
    second.ends()
    assert [each[:13] for each in wire.sent[1:]] == [f'42["number",{n}' for n in range(4)]


def test_a_relay_may_come_when_its_sender_may_relay_without_waiting(server: Server) -> None:
    member = server.manager.member(joined(server).sid, "/")
    second = Second(lambda: server.relay.hold(member))

    class Waiting(int):
        def __bool__(self) -> bool:
            answer = self > 0
            second.comes()
            return answer

    member.waiting = Waiting(0)
    server.relay.settle(member)
    second.ends()
    assert not member.short


def test_who_enters_a_room_as_it_leaves_is_not_in_the_room(server: Server) -> None:
    joined(server)
    sid = joined(server).sid
    second = Second(lambda: server.disconnect(sid))
    slowed(server.manager.member(sid, "/"), "departed", second)
    server.enter_room(sid, "tea")
    second.ends()
    assert list(server.manager.rooms["/"]) == [None]


def test_two_threads_may_take_a_socket_out_of_a_room(server: Server) -> None:
    left: list[Any] = []
    server.manager.on_leave.append(lambda member, room: left.append(room))
    sid = joined(server, "tea").sid
    second = Second(lambda: server.leave_room(sid, "tea"))

    class Inside(dict[str, None]):
        def __contains__(self, room: object) -> bool:
            inside = super().__contains__(room)
            second.comes()
            return inside

    member = server.manager.member(sid, "/")
    member.rooms = Inside(member.rooms)
    server.leave_room(sid, "tea")
    second.ends()
    assert left == ["tea"]


def test_a_socket_that_is_forgotten_as_it_leaves_is_in_no_room(server: Server) -> None:
    joined(server)
    sid, left = joined(server, "tea").sid, []
    server.manager.on_leave.append(lambda member, room: left.append(room))
    second = Second(lambda: server.manager.disconnect(sid, "/"))

    class Everybody(dict[str, str]):
        def __delitem__(self, sid: str) -> None:
            super().__delitem__(sid)
            second.comes()

    server.manager.rooms["/"][None] = Everybody(server.manager.rooms["/"][None])
    server.manager.withdraw(server.manager.member(sid, "/"))
    second.ends()
    assert list(server.manager.rooms["/"]) == [None]
    assert left == ["tea"]


def test_the_last_of_a_namespace_may_leave_while_something_is_sent_to_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = joined(server).sid
    second = Second(lambda: server.manager.disconnect(sid, "/"))
    before = server.manager.recipients_in

    def slowly(*args: Any) -> list[str]:
        found = before(*args)
        second.comes()
        return found

    monkeypatch.setattr(server.manager, "recipients_in", slowly)
    server.emit("news", skip_sid=["somebody", "else"])
    second.ends()
    server.emit("news", skip_sid="somebody")
    assert not server.manager.rooms


def test_peers_are_told_once_of_a_loss_that_two_threads_handle(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, sid = joined(server, "tea"), joined(server, "tea").sid
    member, reason = server.manager.member(sid, "/"), "transport close"
    second = Second(lambda: server.disconnecting.disconnect(member, reason))
    before = server.manager.announce

    def slowly(*args: Any) -> set[str]:
        second.comes()
        return before(*args)

    monkeypatch.setattr(server.manager, "announce", slowly)
    server.disconnecting.leaving(member, reason)
    second.ends()
    server.emit("the end", to=peer.sid)
    told = peer.next()
    assert told.startswith(f'2["#rtcio:peer-left",{{"id":"{sid}"}}')
    assert peer.next().startswith('2["the end"')


def test_nothing_comes_before_the_connect_packet(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, wire = comes_on_a_wire(server)
    second = Second(lambda: server.emit("news", 1))
    before = server.connecting._members.attach

    def slowly(member: Member) -> None:
        second.comes()
        before(member)

    monkeypatch.setattr(server.connecting._members, "attach", slowly)
    client.ask_to_join()
    wait_until(lambda: len(wire.sent) == 2)
    second.ends()
    assert [each[:8] for each in wire.sent] == ['40{"sid"', '42["news']


def test_nothing_comes_before_the_connect_packet_of_a_return(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = away(server)
    server.emit("missed", to=member.sid)

    def sends() -> None:
        server.manager.send_ack(member, 7, "late")
        server.emit("question", to=member.sid, callback=print)

    second = Second(sends)
    before = server.connecting.send_connect

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(server.connecting, "send_connect", slowly)
    client, wire = comes_on_a_wire(server)
    client.ask_to_join(auth={"pid": member.session.pid})
    wait_until(lambda: len(wire.sent) == 4)
    second.ends()
    assert [re.sub(r"[,{\]].*", "", each) for each in wire.sent] == [
        *("40", '42["missed"', '437["late"', '421["question"')
    ]


@pytest.mark.parametrize("how", ["new", "returns"])
def test_who_is_disconnected_as_it_is_told_that_it_is_connected_hears_both_in_order(
    server: Server, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    auth = {"pid": away(server).session.pid} if how == "returns" else None
    client, wire = comes_on_a_wire(server)
    second = Second(lambda: server.disconnect(client.member.sid))
    before = server.connecting.send_connect

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(server.connecting, "send_connect", slowly)
    client.ask_to_join(auth=auth)
    wait_until(lambda: len(wire.sent) == 2)
    second.ends()
    assert [each[:2] for each in wire.sent] == ["40", "41"]
    wait_until(lambda: not server.manager.members)


def test_who_is_let_in_as_it_is_disconnected_is_disconnected(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = threading.Event(), threading.Event()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        entered.set()
        assert release.wait(DEADLINE)

    client, wire = comes_on_a_wire(server)
    client.ask_to_join()
    assert entered.wait(DEADLINE)
    member, before = client.member, server.connecting.kick

    def slowly(member: Member) -> Any:
        release.set()
        wait_until(lambda: member.ready)
        return before(member)

    monkeypatch.setattr(server.connecting, "kick", slowly)
    server.disconnect(member.sid)
    assert [each[:2] for each in wire.sent] == ["40", "41"]
    assert not server.manager.members


def test_who_leaves_as_it_is_disconnected_has_left(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid, before = joined(server).sid, server._send_packet
    second = Second(lambda: server.manager.disconnect(sid, "/"))

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(server, "_send_packet", slowly)
    server.disconnect(sid)
    second.ends()
    assert not server.manager.members


def test_an_event_that_comes_as_its_connect_is_handled_is_not_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release, heard = threading.Event(), threading.Event(), threading.Event()
    server.on("tea", lambda sid: heard.set())
    client = Polling(server)
    link, look, may_connect = client.link, server.receiver._member, server.connecting.may_connect

    def slowly(*args: Any) -> bool:
        entered.set()
        assert release.wait(DEADLINE)
        return may_connect(*args)

    def looks(*args: Any) -> Any:
        found = look(*args)
        release.set()
        wait_until(lambda: link.inbox is None)
        return found

    monkeypatch.setattr(server.connecting, "may_connect", slowly)
    client.ask_to_join()
    assert entered.wait(DEADLINE)
    monkeypatch.setattr(server.receiver, "_member", looks)
    server.eio.arrive(link, b'42["tea"]', False)
    assert heard.wait(DEADLINE)


@pytest.mark.parametrize("how", ["items", "values"])
def test_a_room_may_end_while_all_rooms_are_looked_at(server: Server, how: str) -> None:
    sid = joined(server, "tea", "milk").sid
    rooms = server.of("/").rooms
    second = Second(lambda: server.leave_room(sid, "milk"))
    found = []
    for each in getattr(rooms, how)():
        second.comes()
        found.append(each)
    second.ends()
    names = [sid, "tea", "milk"]
    assert found == [(name, {sid}) if how == "items" else {sid} for name in names]
    assert list(rooms) == [sid, "tea"]


def test_a_room_is_whole_as_soon_as_another_thread_can_find_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = joined(server).sids["/"]
    came, named = server.manager._came, []

    def number() -> Iterator[int]:
        while True:
            named.append(list(server.of("/").rooms))
            yield next(came)

    monkeypatch.setattr(server.manager, "_came", number())
    server.enter_room(sid, "tea")
    assert named == [[sid]]
    assert list(server.of("/").rooms) == [sid, "tea"]


def test_of_two_connections_that_come_back_at_once_the_newer_one_has_the_session(
    server: Server,
) -> None:
    member = away(server)
    older, newer = Polling(server), Polling(server)
    auth = {"pid": member.session.pid}
    links = older.link, newer.link
    second = Second(lambda: newer.ask_to_join(auth=auth))
    slowed(member.session, "taken", second)
    older.ask_to_join(auth=auth)
    wait_until(lambda: second.thread is not None and member.returns)
    second.ends()
    wait_until(lambda: all(link.inbox is None for link in links))
    assert member.link is links[1]
    assert not links[1].closed


def test_who_is_disconnected_by_two_threads_at_once_is_told_so_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, wire = comes_on_a_wire(server)
    client.ask_to_join()
    wait_until(lambda: client.member is not None and client.member.ready)
    sid, before = client.member.sid, server.disconnecting.disconnect
    second = Second(lambda: server.disconnect(sid))

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(server.disconnecting, "disconnect", slowly)
    server.disconnect(sid)
    second.ends()
    assert [each[:2] for each in wire.sent] == ["40", "41"]


def test_who_is_put_out_before_always_connect_lets_him_in_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.always_connect = True
    ran: list[str] = []
    server.on("connect", lambda sid, environ: ran.append(sid))
    client, wire = comes_on_a_wire(server)
    second = Second(lambda: server.disconnect(client.member.sid), waits=True)
    before = server.connecting._accept

    def slowly(member: Member) -> Any:
        second.comes()
        return before(member)

    monkeypatch.setattr(server.connecting, "_accept", slowly)
    client.ask_to_join()
    wait_until(lambda: second.thread is not None and client.link.inbox is None)
    second.ends()
    assert [each[:2] for each in wire.sent] == ["44"]
    assert not server.manager.members
    assert ran == []
