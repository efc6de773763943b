"""A client that comes back to its session: what it finds, what it missed, what the app hears."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
import socketio
from gevent.event import Event

from rtcio_sync import ConnectionRefusedError, Limits, Server
from rtcio_sync.adapter.member import Stage
from rtcio_sync.adapter.session_log import Session
from rtcio_sync.transport.driver import frames_of
from tests.clients import Polling, WebSocket
from tests.frames import masked
from tests.reconnecting import (
    ENOUGH,
    SHORT,
    Line,
    Phone,
    asking,
    end_all,
    in_room,
    leftovers,
    life,
    lose_and_return,
    new_server,
)
from tests.timing import DEADLINE, settle, until


@pytest.fixture
def server() -> Server:
    return new_server()


# -- on the wire -----------------------------------------------------------------------------------


def test_without_it_nothing_on_the_wire_is_different() -> None:
    server = Server()
    client = Polling(server)
    client.ask_to_join()
    answer = client.next()
    assert json.loads(answer[1:]).keys() == {"sid"}
    client.sids["/"] = json.loads(answer[1:])["sid"]
    server.emit("#rtcio:init-offer", {"source": "x"}, to=client.sid)
    assert client.events() == [["#rtcio:init-offer", {"source": "x"}]]
    assert server.stats()["away"] == 0


def test_connect_tells_the_pid_and_each_event_its_offset(server: Server) -> None:
    client = Polling(server)
    client.ask_to_join()
    answer = json.loads(client.next()[1:])
    assert answer.keys() == {"sid", "pid"}
    client.sids["/"] = answer["sid"]
    server.emit("one", to=client.sid)
    server.emit("two", ("a", "b"), to=client.sid)
    server.of("/").emit("three", None)
    assert server.recovery is not None
    one, two, three = (json.loads(client.next()[1:]) for _ in range(3))
    assert (one[:-1], two[:-1], three[:-1]) == (["one"], ["two", "a", "b"], ["three", None])
    offsets = [event[-1] for event in (one, two, three)]
    assert [server.recovery.number_of(offset) for offset in offsets] == [1, 2, 3]


def test_an_event_that_wants_an_acknowledgement_has_no_offset(server: Server) -> None:
    client = Polling(server).join()
    server.emit("question", "why", to=client.sid, callback=lambda *_: None)
    assert client.next() == '21["question","why"]'


def test_the_pid_is_nobody_elses_business(server: Server) -> None:
    seen: list[Any] = []
    server.on("connect", lambda sid, environ, auth: seen.append(auth))
    server.on("connection", lambda socket: seen.append(socket.handshake.auth))
    phone = Phone(server, auth={"token": "t"})
    phone.lose()
    phone.come_back()
    stranger = Phone(server)
    stranger.lose()
    stranger.know("guessed", "0")
    stranger.come_back()
    assert seen == [{"token": "t"}, {"token": "t"}, {"token": "t"}, None, {}, None, {}]


def test_init_offer_goes_out_with_the_options_of_a_polite_peer(server: Server) -> None:
    client = Polling(server).join()
    server.emit("#rtcio:init-offer", {"source": "x"}, to=client.sid)
    server.of("/").emit("#rtcio:init-offer", {"source": "y"})
    server.of("/").emit("#rtcio:init-offer", {"source": "z"}, {"polite": False})
    events = [json.loads(client.next()[1:]) for _ in range(3)]
    assert [event[:-1] for event in events] == [
        ["#rtcio:init-offer", {"source": "x"}, {"polite": True}],
        ["#rtcio:init-offer", {"source": "y"}, {"polite": True}],
        ["#rtcio:init-offer", {"source": "z"}, {"polite": False}],
    ]
    assert all(isinstance(event[-1], str) for event in events)


RAW = ' {"data" : "\\u00e9 \\/ 1.0e2", "target":"%s", "source":"%s"  }'


@pytest.mark.parametrize(
    "form", ['2["#rtcio:message",%s]', '2["#rtcio:message",%s] \n', '27["#rtcio:message",%s,1]']
)
@pytest.mark.parametrize("kind", ["websocket", "polling"])
def test_an_envelope_is_forwarded_untouched_with_the_offset_behind_it(
    server: Server, form: str, kind: str
) -> None:
    sender = Line(server).connected()
    if kind == "websocket":
        target = Line(server).connected()
        raw = RAW % (target.sid, sender.sid)
        sender.send(form % raw)
        target.read_until(lambda: target.events or b'"]' in target.data)
        (event,) = target.events
        offset = target.offset
    else:
        polling = Polling(server).join()
        raw = RAW % (polling.sid, sender.sid)
        sender.send(form % raw)
        text = polling.next()
        assert text.startswith(f'2["#rtcio:message",{raw.lstrip()}' if "27" in form else text[:19])
        *event, offset = json.loads(text[1:])
        assert raw.strip() in text
    assert event == ["#rtcio:message", json.loads(raw)]
    assert server.recovery is not None and server.recovery.number_of(offset) == 1


def test_an_event_for_many_is_encoded_once_and_kept_as_one(server: Server) -> None:
    phones = [in_room(server) for _ in range(3)]
    server.emit("news", {"a": 1}, to="tea")
    logs = [server.manager.member(phone.sid, "/").session._log for phone in phones]
    assert len({id(log[-1]) for log in logs}) == 1
    ((payload, binary),) = frames_of(logs[0][-1].frame)
    assert payload.startswith(b'42["news",{"a":1},"') and not binary


def test_who_has_received_an_init_offer_never_gets_it_again(server: Server) -> None:
    """A second one would replace a peer that lives."""
    phone = in_room(server)
    server.emit("#rtcio:init-offer", {"source": "x"}, to="tea")
    assert phone.received() == [("#rtcio:init-offer", [{"source": "x"}, {"polite": True}])]
    for way in (phone.lose, phone.forsake):
        way()
        server.emit("#rtcio:init-offer", {"source": "y"}, to="tea")
        phone.come_back()
        assert phone.received() == [("#rtcio:init-offer", [{"source": "y"}, {"polite": True}])]
    end_all(server, phone)


# -- what a client finds ---------------------------------------------------------------------------


def test_who_comes_back_has_its_sid_its_rooms_and_its_data(server: Server) -> None:
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    phone = in_room(server)
    sockets[0].data["name"] = "Ann"
    sid, pid = phone.sid, phone.pid
    phone.lose()
    assert server.stats()["away"] == 1
    phone.come_back()
    assert (phone.sid, phone.pid, phone.recovered) == (sid, pid, True)
    assert sockets[1] is not sockets[0]
    assert sockets[1].recovered and sockets[1].connected
    assert sockets[1].data == {"name": "Ann"}
    assert sockets[1].rooms == {sid, "tea"}
    stats = server.stats()
    assert (stats["away"], stats["connected"], stats["recoveries"]) == (0, 1, 1)
    end_all(server, phone)


def test_what_it_missed_comes_once_in_order_and_before_anything_new(server: Server) -> None:
    server.on("connection", lambda socket: socket.emit("e", "hello"))
    phone, other = in_room(server), in_room(server)
    server.emit("e", "received", to="tea")
    assert phone.heard("e") == ["hello", "received"]
    phone.go_deaf()
    server.emit("e", "in flight", to="tea")
    phone.lose()
    server.emit("e", "to the room", to="tea")
    server.emit("e", "to all")
    server.emit("e", "to it alone", to=phone.sid or "tea")
    server.of("/").except_("tea").emit("e", "to others")
    phone.come_back()
    server.emit("e", "new", to="tea")
    assert phone.heard("e") == [
        "in flight", "to the room", "to all", "to it alone", "hello", "new",
    ]  # fmt: skip
    end_all(server, phone, other)


def test_relays_reach_it_once_through_every_stage_of_a_loss() -> None:
    server = new_server()
    entered, release = Event(), Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        @socket.on("disconnecting")
        def disconnecting(reason: str) -> None:
            if reason == "transport close":
                entered.set()
                assert release.wait(DEADLINE)

    sender = Line(server).connected()
    target = Line(server).connected()
    member = server.manager.member(target.sid, "/")
    sender.relay(target.sid, "connected")
    target.read_until(lambda: len(target.events) == 1)
    sender.relay(target.sid, "in flight")
    until(lambda: server.counters.relayed == 2)
    target.close()
    until(lambda: member.stage is not Stage.CONNECTED)
    sender.relay(target.sid, "leaving")
    assert entered.wait(DEADLINE)
    assert member.stage is Stage.GONE
    sender.relay(target.sid, "gone")
    until(lambda: server.counters.relayed == 4)
    release.set()
    until(lambda: member.stage is Stage.AWAY)
    sender.relay(target.sid, "away")
    until(lambda: server.counters.relayed == 5)
    again = Line(server, target.key()).connected()
    sender.relay(target.sid, "back")
    again.read_until(lambda: len(again.events) == 5)
    heard = [event[1]["data"] for event in target.events + again.events]
    assert heard == ["connected", "in flight", "leaving", "gone", "away", "back"]


def test_who_had_received_nothing_gets_everything_since_its_connect(server: Server) -> None:
    phone = in_room(server)
    phone.go_deaf()
    server.emit("e", 1, to="tea")
    phone.lose()
    server.emit("e", 2, to="tea")
    assert phone.offset is None
    phone.come_back()
    assert phone.recovered
    assert phone.heard("e") == [1, 2]
    end_all(server, phone)


def test_events_with_attachments_come_back_whole(server: Server) -> None:
    phone = in_room(server)
    phone.lose()
    server.emit("e", {"a": b"\x00\x01", "b": b"\xff" * 70_000}, to="tea")
    server.emit("e", "plain", to="tea")
    phone.come_back()
    assert phone.heard("e") == [{"a": b"\x00\x01", "b": b"\xff" * 70_000}, "plain"]
    end_all(server, phone)


def test_it_works_with_messagepack() -> None:
    server = new_server(serializer="msgpack")
    phone, other = in_room(server), in_room(server)
    server.emit("e", {"a": b"\x00"}, to="tea")
    phone.go_deaf()
    server.emit("e", {"a": b"\x01"}, to="tea")
    phone.lose()
    assert phone.sid is None
    sid = server.recovery._sessions[phone.pid].member.sid  # type: ignore[union-attr,index]
    other.relay(sid, {"blob": b"\x02"})
    phone.relay(other.sid or "", "kept")
    phone.come_back()
    assert phone.sid == sid
    assert phone.received("e") == [{"a": b"\x00"}, {"a": b"\x01"}]
    assert phone.received("#rtcio:message") == [
        {"source": other.sid, "target": sid, "data": {"blob": b"\x02"}}
    ]
    assert other.received("#rtcio:message") == [
        {"source": sid, "target": other.sid, "data": "kept"}
    ]
    end_all(server, phone, other)


def test_it_works_in_every_namespace_by_itself() -> None:
    server = new_server(namespaces=["/", "/calls"])
    here, there = in_room(server), in_room(server, namespace="/calls")
    sids = (here.sid, there.sid)
    here.lose(), there.lose()
    server.emit("e", 1, to="tea")
    server.emit("e", 2, to="tea", namespace="/calls")
    assert server.stats()["away"] == 2
    here.come_back(), there.come_back()
    assert (here.sid, there.sid) == sids
    assert (here.heard("e"), there.heard("e")) == ([1], [2])
    end_all(server, here, there)


def test_the_namespaces_of_one_connection_come_back_one_by_one() -> None:
    server = new_server(namespaces=["/", "/calls"])
    first = Polling(server)
    keys = {}
    for namespace, where in (("/", ""), ("/calls", "/calls,")):
        first.ask_to_join(namespace)
        answer = first.next(lambda packet: packet[0] == "0")
        keys[namespace] = json.loads(answer[1 + len(where) :])
        server.emit("e", 1, to=keys[namespace]["sid"], namespace=namespace)
    second = Polling(server)  # before the loss of the first is noticed
    old = first.link
    second.ask_to_join("/calls", {"pid": keys["/calls"]["pid"]})
    answer = second.next()
    assert json.loads(answer[len("0/calls,") :]) == keys["/calls"]
    assert second.next().startswith('2/calls,["e",1,"')
    assert not old.closed, "another of its namespaces is still there"
    second.ask_to_join("/", {"pid": keys["/"]["pid"]})
    assert json.loads(second.next()[1:]) == keys["/"]
    assert second.next().startswith('2["e",1,"')
    assert old.closed
    assert server.stats()["connected"] == 2
    second.close()


def test_the_data_of_save_session_survives_and_may_change_meanwhile(server: Server) -> None:
    phone = in_room(server)
    sid = phone.sid or ""
    server.save_session(sid, {"user": 1})
    phone.lose()
    assert server.get_session(sid) == {"user": 1}
    with server.session(sid) as session:
        session["more"] = 2
    phone.come_back()
    assert server.get_session(sid) == {"user": 1, "more": 2}
    phone.forsake()
    phone.come_back()
    assert server.get_session(sid) == {"user": 1, "more": 2}
    end_all(server, phone)
    with pytest.raises(KeyError):
        server.get_session(sid)


def test_a_connection_from_which_a_session_was_taken_over_keeps_no_data_of_it(
    server: Server,
) -> None:
    server.of("/calls")
    first, second = WebSocket(server), WebSocket(server)
    first.join("/calls")
    first.ask_to_join()
    key = json.loads(first.next()[1:])
    server.save_session(key["sid"], {"user": "ann"})
    second.ask_to_join(auth={"pid": key["pid"]})
    assert json.loads(second.next()[1:]) == key
    assert server.get_session(key["sid"]) == {"user": "ann"}
    first.join()  # it still has a socket in the other namespace
    assert server.get_session(first.sid) == {}


def test_what_it_emits_meanwhile_arrives_with_its_source_filled_in(server: Server) -> None:
    phone, other = Phone(server), Phone(server)
    sid, target = phone.sid, other.sid or ""
    phone.relay(target, 0)
    phone.lose()
    for number in range(1, 21):
        phone.relay(target, number)
    phone.come_back()
    phone.relay(target, 21)
    heard = other.received("#rtcio:message")
    assert [envelope["data"] for envelope in heard] == list(range(22))
    assert {envelope["source"] for envelope in heard} == {sid}
    end_all(server, phone, other)


def test_five_drops_in_a_row_leave_it_what_it_was(server: Server) -> None:
    told = life(server)
    phone = in_room(server)
    sid, pid = phone.sid, phone.pid
    for number in range(5):
        phone.go_deaf()
        server.emit("e", (number, "a"), to="tea")
        phone.lose()
        server.emit("e", (number, "b"), to="tea")
        phone.come_back()
        assert (phone.sid, phone.pid, phone.recovered) == (sid, pid, True)
        assert [args for _, args in phone.received()] == [[number, "a"], [number, "b"]]
    assert [each[0] for each in told].count("connection") == 6
    assert [each[0] for each in told].count("disconnect") == 5
    end_all(server, phone)


def test_it_can_ask_and_answer_again_after_its_return(server: Server) -> None:
    server.on("echo", lambda sid, *args: args)
    answers: list[Any] = []
    phone = Phone(server)
    server.emit("question", to=phone.sid or "", callback=answers.append)
    phone.lose()
    phone.come_back()
    phone.acknowledge("question", "late")
    settle()
    assert answers == ["late"]
    assert phone.call("echo", 1) == 1
    end_all(server, phone)


# -- what the app hears ----------------------------------------------------------------------------


def test_a_loss_is_told_at_once_and_the_return_too(server: Server) -> None:
    told = life(server)
    phone, peer = in_room(server), in_room(server)
    peer.received()
    phone_sid, told[:] = phone.sid, []
    phone.lose("ping timeout")
    assert told == [("disconnecting", phone_sid), ("disconnect", phone_sid, "ping timeout")]
    assert peer.received() == [("#rtcio:peer-left", [{"id": phone_sid}])]
    phone.come_back()
    assert told[2:] == [("connection", phone_sid, True)]
    assert peer.received() == []
    phone.lose()
    assert peer.received() == [("#rtcio:peer-left", [{"id": phone_sid}])]
    end_all(server, phone, peer)


def test_a_half_open_connection_is_taken_over_and_nobody_hears_of_it(server: Server) -> None:
    told = life(server)
    phone, peer = in_room(server), in_room(server)
    sid, told[:] = phone.sid, []
    phone.go_deaf()
    server.emit("e", "in flight", to="tea")
    peer.received()
    phone.forsake()
    server.emit("e", "while half-open", to=sid or "")
    assert len(server.eio.sockets) == 2
    phone.come_back()
    assert (phone.sid, phone.recovered) == (sid, True)
    assert phone.heard("e") == ["in flight", "while half-open"]
    settle()
    assert told == []
    assert peer.received() == []
    assert len(server.eio.sockets) == 2, "the old connection is closed"
    stats = server.stats()
    assert (stats["connected"], stats["disconnects"], stats["recoveries"]) == (2, 0, 1)
    phone.relay(peer.sid or "", "still here")
    assert peer.received("#rtcio:message")[0]["source"] == sid
    end_all(server, phone, peer)


def test_a_take_over_shows_the_app_the_new_handshake(server: Server) -> None:
    sockets: list[Any] = []
    server.on("connection", sockets.append)
    phone = Phone(server, auth={"token": 1}, query={"n": "1"})
    phone.forsake()
    phone._auth = {"token": 2}
    phone._environ["QUERY_STRING"] = "n=2"
    phone.come_back()
    (socket,) = sockets
    assert (socket.handshake.auth, socket.handshake.query["n"]) == ({"token": 2}, "2")
    end_all(server, phone)


def test_middlewares_and_connect_handlers_are_passed_by_by_default(server: Server) -> None:
    asked: list[str] = []
    server.use(lambda socket: asked.append("use"))
    server.on("connect", lambda sid, environ: asked.append("connect"))
    phone = Phone(server)
    asked.clear()
    phone.lose()
    phone.come_back()
    phone.forsake()
    phone.come_back()
    assert phone.recovered
    assert asked == []
    end_all(server, phone)


@pytest.mark.parametrize("way", [Phone.lose, Phone.forsake])
def test_they_run_when_asked_for_and_see_the_new_connection(way: Callable[[Phone], None]) -> None:
    server = new_server(recovery={"skip_middlewares": False})
    asked: list[Any] = []

    @server.use
    def use(socket: Any) -> None:
        asked.append(("use", socket.id, socket.handshake.auth, socket.recovered, dict(socket.data)))
        socket.data["n"] = socket.handshake.auth["n"]

    server.on("connect", lambda sid, environ, auth: asked.append(("connect", sid, auth)))
    phone = Phone(server, auth={"n": 1})
    sid = phone.sid
    way(phone)
    phone._auth = {"n": 2}
    server.emit("e", "missed")
    phone.come_back()
    assert phone.heard("e") == ["missed"]
    assert asked == [
        ("use", sid, {"n": 1}, False, {}), ("connect", sid, {"n": 1}),
        ("use", sid, {"n": 2}, True, {"n": 1}), ("connect", sid, {"n": 2}),
    ]  # fmt: skip
    end_all(server, phone)


@pytest.mark.parametrize("way", [Phone.lose, Phone.forsake])
def test_while_they_run_the_connection_is_the_new_one(way: Callable[[Phone], None]) -> None:
    server = new_server(recovery={"skip_middlewares": False})
    seen: list[Any] = []

    @server.use
    def use(socket: Any) -> None:
        environ = server.get_environ(socket.id)
        seen.append((socket.conn.id, socket.conn.ready_state, server.transport(socket.id)))
        seen.append(environ is socket.handshake.environ)

    server.on("connect", lambda sid, environ: seen.append(server.get_environ(sid) is environ))
    phone = Phone(server)
    first = phone._link.sid
    way(phone)
    phone.come_back()
    assert phone.recovered
    assert seen == [
        (first, "open", "polling"), True, True,
        (phone._link.sid, "open", "polling"), True, True,
    ]  # fmt: skip
    assert phone._link.sid != first
    end_all(server, phone)


@pytest.mark.parametrize("way", [Phone.lose, Phone.forsake])
def test_a_returning_client_whose_connection_a_middleware_closes_is_lost_again(
    way: Callable[[Phone], None],
) -> None:
    server = new_server(recovery={"skip_middlewares": False})
    told = life(server)
    banned: list[bool] = []
    server.use(lambda socket: socket.conn.close() if banned else None)
    phone, peer = in_room(server), in_room(server)
    sid = phone.sid
    way(phone)
    banned.append(True)
    phone.come_back()
    settle()
    assert not phone.connected
    assert peer.heard("#rtcio:peer-left")[-1] == {"id": sid}
    assert [each for each in told if each[1] == sid][-1][0] == "disconnect"
    end_all(server, phone, peer)


@pytest.mark.parametrize("way", [Phone.lose, Phone.forsake])
@pytest.mark.parametrize("who", ["use", "connect"])
def test_a_refusal_ends_the_session_at_once(who: str, way: Callable[[Phone], None]) -> None:
    server = new_server(recovery={"skip_middlewares": False})
    told = life(server)
    banned: list[bool] = []

    def ask(*_: Any) -> None:
        if banned:
            raise ConnectionRefusedError("banned", {"for": "ever"})

    server.use(ask) if who == "use" else server.on("connect", ask)
    phone, peer = in_room(server), in_room(server)
    sid = phone.sid
    way(phone)
    banned.append(True)
    server.emit("e", "not for it", to="tea")
    phone.come_back()
    settle()
    assert (phone.connected, phone.error) == (False, {"message": "banned", "data": {"for": "ever"}})
    assert phone.received() == []
    assert ("disconnect", sid, "transport close") in told
    assert server.manager.member(sid, "/") is None
    assert peer.heard("#rtcio:peer-left") == [{"id": sid}]
    banned.clear()
    phone.come_back()
    assert phone.connected and phone.sid != sid and not phone.recovered
    end_all(server, phone, peer)


# -- who does not come back ------------------------------------------------------------------------


def test_after_the_time_there_is_a_fresh_session() -> None:
    server = new_server(recovery={"max_disconnection_duration": SHORT})
    told = life(server)
    phone = in_room(server)
    sid, pid = phone.sid, phone.pid
    phone.lose()
    until(lambda: ("session end", sid) in told)
    assert leftovers(server) == {}
    server.emit("e", "too late", to="tea")
    phone.come_back()
    assert phone.sid != sid and phone.pid != pid and not phone.recovered
    assert phone.received() == []
    assert [each[0] for each in told] == [
        "connection", "disconnecting", "disconnect", "session end", "connection",
    ]  # fmt: skip
    end_all(server, phone)


def test_the_time_of_an_earlier_loss_does_not_end_a_later_wait(server: Server) -> None:
    recovery = server.recovery
    assert recovery is not None
    due: list[Any] = []
    recovery.later = lambda seconds, do, *args: due.append((do, args))
    phone = in_room(server)
    sid = phone.sid
    phone.lose()
    phone.come_back()
    phone.lose()
    first, second = (args for do, args in due if do == recovery._expire)
    recovery._expire(*first)
    phone.come_back()
    assert phone.sid == sid and phone.recovered
    recovery._expire(*second)
    phone.lose()
    recovery._expire(*due[-1][1])
    phone.come_back()
    assert phone.sid != sid and not phone.recovered
    end_all(server, phone)


def test_who_leaves_on_purpose_is_gone_at_once(server: Server) -> None:
    told = life(server)
    phone = in_room(server)
    sid = phone.sid
    phone.leave()
    assert server.manager.member(sid, "/") is None
    settle()
    assert ("session end", sid) not in told, "it was never away"
    phone.lose()
    phone.come_back()
    assert phone.sid != sid and not phone.recovered
    end_all(server, phone)


def test_a_page_that_is_left_has_gone_for_good(server: Server) -> None:
    """Browsers close the WebSockets of a page that is left with 1001."""
    line = Line(server).connected()
    sid = line.sid
    line.sock.sendall(masked(8, (1001).to_bytes(2, "big")))
    until(lambda: server.manager.member(sid, "/") is None)
    assert server.stats()["disconnects_by_reason"] == {"transport close": 1}
    assert leftovers(server) == {}
    another = Line(server).connected()
    another.sock.sendall(masked(8, (1000).to_bytes(2, "big")))
    until(lambda: server.stats()["away"] == 1)


PUT_OUT: dict[str, Callable[[Server, str], Any]] = {
    "disconnect": lambda server, sid: server.disconnect(sid),
    "disconnect_sockets": lambda server, sid: server.disconnect_sockets(),
    "disconnect_sockets of a room": lambda server, sid: server.in_("tea").disconnect_sockets(True),
}


@pytest.mark.parametrize("way", PUT_OUT)
def test_who_is_put_out_while_away_gets_a_fresh_session(server: Server, way: str) -> None:
    told = life(server)
    phone = in_room(server)
    sid = phone.sid or ""
    phone.lose()
    PUT_OUT[way](server, sid)
    settle()
    assert told[-1] == ("session end", sid)
    assert leftovers(server) == {}
    server.emit("e", "not for it", to="tea")
    phone.come_back()
    assert phone.sid != sid and not phone.recovered and phone.received() == []
    end_all(server, phone)


@pytest.mark.parametrize("way", PUT_OUT)
@pytest.mark.parametrize("stage", [Stage.LEAVING, Stage.GONE])
def test_who_is_put_out_while_its_loss_is_being_told_does_not_come_back(
    stage: Stage, way: str
) -> None:
    server = new_server()
    busy, lost, release = Event(), Event(), Event()
    ended: list[str] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.join("tea")
        socket.on_session_end(lambda: ended.append(socket.id))

    @server.on("work")
    def work(sid: str) -> None:
        busy.set()
        assert release.wait(DEADLINE)

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        lost.set()
        assert release.wait(DEADLINE)

    line = Line(server).connected()
    if stage is Stage.LEAVING:
        line.emit("work")
        assert busy.wait(DEADLINE)
    line.close()
    member = server.manager.member(line.sid, "/")
    until(lambda: member.stage is stage)
    again = asking(server, line)
    settle()
    PUT_OUT[way](server, line.sid)
    release.set()
    again.connected()
    assert again.sid != line.sid
    assert server.manager.member(line.sid, "/") is None
    assert ended == ([line.sid] if stage is Stage.GONE else [])
    again.close()
    until(lambda: server.stats()["away"] == 1)
    server.disconnect(again.sid)
    until(lambda: leftovers(server) == {})


def test_rooms_that_are_left_or_closed_meanwhile_are_not_come_back_to(server: Server) -> None:
    phone = in_room(server, "left")
    sid = phone.sid or ""
    for room in ("closed", "left by sid", "kept"):
        server.enter_room(sid, room)
    phone.lose()
    server.in_("left").sockets_leave("left")
    server.close_room("closed")
    server.leave_room(sid, "left by sid")
    server.in_(sid).sockets_join("joined")
    server.enter_room(sid, "joined by sid")
    for room in ("left", "closed", "left by sid", "kept", "joined", "joined by sid"):
        server.emit("e", room, to=room)
    phone.come_back()
    assert set(server.rooms(sid)) == {sid, "kept", "joined", "joined by sid"}
    assert phone.heard("e") == ["kept", "joined", "joined by sid"]
    end_all(server, phone)


@pytest.mark.parametrize("way", [Phone.lose, Phone.forsake])
def test_who_needs_more_than_was_kept_gets_a_fresh_session(way: Callable[[Phone], None]) -> None:
    server = new_server(recovery={"max_recovery_bytes": 1000})
    told = life(server)
    phone = in_room(server)
    sid = phone.sid
    way(phone)
    for _ in range(3):
        server.emit("e", "x" * 400, to="tea")
    phone.come_back()
    settle()
    assert phone.connected and phone.sid != sid and not phone.recovered
    assert phone.received() == [], "no part of what it missed"
    assert server.manager.member(sid, "/") is None
    assert [each[0] for each in told].count("disconnect") == 1
    end_all(server, phone)


def test_the_app_is_not_asked_about_a_return_that_cannot_be() -> None:
    server = new_server(recovery={"skip_middlewares": False, "max_recovery_bytes": 1000})
    asked: list[bool] = []
    server.use(lambda socket: asked.append(socket.recovered))
    phone = in_room(server)
    phone.lose()
    for _ in range(3):
        server.emit("e", "x" * 400, to="tea")
    phone.come_back()
    assert asked == [False, False]
    end_all(server, phone)


def test_the_bytes_of_one_session_are_bounded(server: Server) -> None:
    phone = in_room(server)
    phone.lose()
    for _ in range(30):
        server.emit("e", "x" * 100_000, to="tea")
    (session,) = server.recovery._sessions.values()  # type: ignore[union-attr]
    assert 900_000 < session._size <= 1_000_000
    end_all(server, phone)


# -- pids that are not one's own -------------------------------------------------------------------


def test_a_forged_pid_gets_a_fresh_session_like_any_newcomer(server: Server) -> None:
    phone = in_room(server)
    server.emit("e", "secret", to="tea")
    phone.lose()
    for pid in ("", "guess", phone.sid, "x" * 24, None, 5, ["a"], {"a": 1}):
        stranger = Phone(server, auth={"pid": pid, "offset": "0"})
        assert stranger.connected and stranger.error is None
        assert stranger.sid != phone.sid and stranger.received() == []
        stranger.leave()
    phone.come_back()
    assert phone.recovered
    end_all(server, phone)


def test_a_pid_of_another_namespace_is_none() -> None:
    server = new_server(namespaces=["/", "/calls"])
    phone = in_room(server)
    phone.lose()
    server.emit("e", "secret", to="tea")
    stranger = Phone(server, namespace="/calls", auth={"pid": phone.pid})
    assert stranger.connected and stranger.received() == []
    phone.come_back()
    assert phone.recovered and phone.heard("e") == ["secret"]
    end_all(server, phone, stranger)


def test_the_pid_of_a_session_that_is_over_is_none() -> None:
    server = new_server(recovery={"max_disconnection_duration": SHORT})
    phone = in_room(server)
    phone.lose()
    until(lambda: leftovers(server) == {})
    thief = Phone(server, auth={"pid": phone.pid})
    assert thief.connected and thief.pid != phone.pid
    end_all(server, thief)


def test_two_connections_with_one_pid_never_share_a_session(server: Server) -> None:
    phone = in_room(server)
    phone.lose()
    server.emit("e", "missed", to="tea")
    twin = Phone(server)
    twin.lose()
    server.disconnect(twin.sid or "")
    twin.know(phone.pid, phone.offset)
    phone.come_back()
    twin.come_back()
    assert twin.sid and not phone.connected, "the newest has it, and the other is closed"
    server.emit("e", "new", to="tea")
    assert phone.heard("e") == ["missed"]
    assert twin.heard("e") == ["missed", "new"]
    assert server.stats()["connected"] == 1
    end_all(server, twin)


def test_a_second_connect_on_one_connection_cannot_take_a_session(server: Server) -> None:
    phone, thief = in_room(server), Phone(server)
    phone.lose()
    sid = thief.sid
    thief._send(0, {"pid": phone.pid})
    assert thief.error == {"message": "Unable to connect"}
    phone.come_back()
    assert phone.recovered and phone.sid != sid
    end_all(server, phone)


# -- together with the rest ----------------------------------------------------------------------


def test_who_returns_has_its_own_rate_again_and_the_limits_of_its_namespace() -> None:
    server = new_server(limits=Limits(events_per_second=10, events_burst=20))
    server.of("/calls", limits=Limits(events_per_second=100, events_burst=200))
    phone = in_room(server, namespace="/calls")
    phone.lose()
    phone.come_back()
    assert phone._link is not None and phone._link.limits.burst == 200
    end_all(server, phone)


def test_a_room_scope_counts_who_is_away() -> None:
    server = new_server(relay_scope="room")
    phone, friend, stranger = in_room(server), in_room(server), in_room(server, "coffee")
    sid = phone.sid or ""
    phone.lose()
    friend.relay(sid, "from the room")
    stranger.relay(sid, "from elsewhere")
    phone.relay(friend.sid or "", "kept for the room")
    phone.relay(stranger.sid or "", "kept for elsewhere")
    phone.come_back()
    assert [each["data"] for each in phone.received("#rtcio:message")] == ["from the room"]
    assert [each["data"] for each in friend.received("#rtcio:message")] == ["kept for the room"]
    assert stranger.received("#rtcio:message") == []
    assert server.stats()["dropped"] == {"other-room": 2}
    end_all(server, phone, friend, stranger)


def test_a_server_that_stops_keeps_nobody_waiting() -> None:
    server = new_server()
    told = life(server)
    phone = in_room(server)
    sid = phone.sid
    server.shutdown()
    assert told[-1] == ("disconnect", sid, "server shutting down")
    assert leftovers(server) == {}


def test_a_client_that_has_left_is_freed_though_its_session_might_have_lasted(
    server: Server,
) -> None:
    for _ in range(50):
        phone = Phone(server, auth={"filler": [[] for _ in range(900)]})
        server.emit("kept", to=phone.sid)
        phone.leave()
        end_all(server, phone)
    del phone
    gc.collect()
    sessions = [each for each in gc.get_objects() if type(each) is Session]
    assert not any(each._store is server.recovery for each in sessions)


def test_may_return_tells_a_loss_from_a_leave(server: Server) -> None:
    told: list[bool] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        assert not socket.may_return
        socket.on("disconnect", lambda: told.append(socket.may_return))

    for way in (Phone.lose, Phone.leave):
        phone = Phone(server)
        way(phone)
        end_all(server, phone)
    assert told == [True, False]


def test_upstreams_idiom_alone_works_too(server: Server) -> None:
    told: list[Any] = []

    class Handlers(socketio.Namespace):
        def on_connect(self, sid: str, environ: Any) -> None:
            self.enter_room(sid, "tea")
            told.append("connect")

        def on_disconnect(self, sid: str, reason: str) -> None:
            told.append(reason)

        def on_say(self, sid: str, words: str) -> None:
            self.emit("said", words, room="tea")

    server.register_namespace(Handlers("/"))
    phone = Phone(server)
    phone.lose()
    server.emit("said", "missed", to="tea")
    phone.come_back()
    phone.emit("say", "hello")
    assert phone.heard("said") == ["missed", "hello"]
    assert told == ["connect", "transport close"]
    end_all(server, phone)


@pytest.mark.parametrize("noticed", [True, False])
def test_an_event_that_was_half_sent_is_not_completed_by_the_next_connection(
    server: Server, noticed: bool
) -> None:
    told: list[Any] = []
    server.on("blob", lambda sid, data: told.append(data))
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    line.send('51-["blob",{"_placeholder":true,"num":0}]')
    settle()
    if noticed:
        line.close()
        until(lambda: member.stage is Stage.AWAY)
    again = Line(server, line.key()).connected()
    assert again.sid == line.sid
    again.emit("blob", "whole")
    until(lambda: told == ["whole"])
    assert server._binary_packet == {}


# -- many ------------------------------------------------------------------------------------------


def test_many_lost_at_once_come_back_each_to_its_own() -> None:
    lose_and_return(200)


def test_nothing_looks_at_all_sessions() -> None:
    """What one loss, one event, one return and one end cost does not depend on how many wait."""

    class Named(dict[str, Any]):
        """One in which things are found by their name alone."""

        def _refuse(self, *_: Any) -> Any:
            raise AssertionError("somebody looks at all of them")

        __iter__ = keys = values = items = copy = _refuse

    server = new_server(recovery={"max_disconnection_duration": ENOUGH})
    assert server.recovery is not None
    everybody = server.recovery._sessions
    server.recovery._sessions = Named(everybody)
    phone, other = in_room(server), in_room(server, "coffee")
    for way in (phone.lose, phone.forsake):
        way()
        server.emit("e", 1, to="tea")
        phone.come_back()
        assert phone.recovered and phone.heard("e") == [1]
    other.lose()
    until(lambda: server.stats()["away"] == 0)
    server.close_room("tea")
    phone.leave()
    assert len(server.recovery._sessions) == 0
    server.recovery._sessions = {}
    end_all(server)


def test_a_return_costs_what_was_missed_not_what_is_kept(server: Server) -> None:
    phone = in_room(server)
    for number in range(2000):
        server.emit("e", number, to="tea")
    phone.received()
    phone.lose()
    server.emit("e", "missed", to="tea")
    (session,) = server.recovery._sessions.values()  # type: ignore[union-attr]
    looked: list[int] = []

    class Looking(type(session._log)):  # type: ignore[misc]
        def __reversed__(self) -> Any:
            for each in super().__reversed__():
                looked.append(each.number)
                yield each

    session._log = Looking(session._log)
    phone.come_back()
    assert phone.heard("e") == ["missed"]
    assert max(map(len, (looked, [0]))) <= 4
    end_all(server, phone)
