"""Losses and returns that overlap, and lives at random: nothing lost, nothing twice, in order."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import Server
from rtcio_sync.adapter.member import Stage
from tests.clients import Polling
from tests.reconnecting import ENOUGH, Line, asking, end_all, in_room, leftovers, new_server
from tests.timing import DEADLINE, settle, until


class Slow:
    """An app whose handlers wait for the test; what happened, in order."""

    def __init__(self, server: Server) -> None:
        self.log: list[Any] = []
        self.reached: dict[str, Event] = {}
        self.open: dict[str, Event] = {}
        self.server = server
        for name in ("work", "disconnect"):
            server.on(name, self._handler(name))
        server.on("connect", self.connect)

        @server.on("connection")
        def connection(socket: Any) -> None:
            self.log.append(("connection", socket.recovered))

    def hold(self, name: str) -> None:
        self.reached[name], self.open[name] = Event(), Event()

    def release(self, name: str) -> None:
        self.open.pop(name).set()

    def _pass(self, name: str) -> None:
        if name in self.open:
            self.reached[name].set()
            assert self.open[name].wait(DEADLINE)

    def _handler(self, name: str) -> Any:
        def handler(sid: str, *args: Any) -> None:
            self.log.append(f"{name} begins")
            self._pass(name)
            self.server.emit("done", name, to=sid)
            self.log.append(f"{name} ends")

        return handler

    def connect(self, sid: str, environ: Any, auth: Any) -> None:
        self.log.append("connect begins")
        self._pass("connect")
        self.log.append("connect ends")


def asked_at_return(server: Server) -> tuple[Slow, Line, Line]:
    """A client that was lost and is back, while the app is still asked whether it may be."""
    slow = Slow(server)
    line = Line(server).connected()
    slow.hold("connect")
    member = server.manager.member(line.sid, "/")
    line.close()
    until(lambda: member.stage is Stage.AWAY)
    again = Line(server, line.key())
    assert slow.reached["connect"].wait(DEADLINE)
    return slow, line, again


@pytest.mark.parametrize("closed", [True, False])
def test_what_had_arrived_before_is_done_before_the_return(closed: bool) -> None:
    server = new_server()
    slow = Slow(server)
    slow.hold("work")
    line = Line(server).connected()
    line.emit("work")
    assert slow.reached["work"].wait(DEADLINE)
    line.emit("work")
    settle()
    if closed:
        line.close()
        member = server.manager.member(line.sid, "/")
        until(lambda: member.stage is Stage.LEAVING)
    again = Line(server, line.key())
    again.emit("work")
    settle()
    assert slow.log == ["connect begins", "connect ends", ("connection", False), "work begins"]
    slow.release("work")
    again.read_until(lambda: len(again.events) == 3 + closed)
    assert again.sid == line.sid
    work, lost = ["work begins", "work ends"], ["disconnect begins", "disconnect ends"]
    back = [*lost, ("connection", True)] if closed else []
    until(lambda: slow.log[3:] == [*work, *work, *back, *work])
    done = ["work", "work", *["disconnect"] * closed, "work"]
    assert [event[1] for event in again.events] == done


def test_a_connect_whose_connection_ends_while_it_waits_leaves_the_session_as_it_was() -> None:
    server = new_server()
    slow = Slow(server)
    slow.hold("disconnect")
    line = Line(server).connected()
    line.close()
    assert slow.reached["disconnect"].wait(DEADLINE)
    for _ in range(5):
        flap = asking(server, line)
        link = flap.link
        flap.close()
        until(lambda: link.closed)  # noqa: B023 (called at once)
    final = asking(server, line)
    slow.release("disconnect")
    final.connected()
    assert final.sid == line.sid
    final.read_until(lambda: final.events == [["done", "disconnect"]])
    assert slow.log.count("disconnect begins") == 1
    assert [each for each in slow.log if each == ("connection", True)] == [("connection", True)]


def test_of_several_that_wait_the_newest_gets_the_session() -> None:
    server = new_server()
    slow = Slow(server)
    slow.hold("disconnect")
    line = Line(server).connected()
    line.close()
    assert slow.reached["disconnect"].wait(DEADLINE)
    first, second = asking(server, line), asking(server, line)
    link = first.link
    slow.release("disconnect")
    second.connected()
    assert second.sid == line.sid
    until(lambda: link.closed)
    settle()
    first.sip(10_000)
    assert (first.pid, first.events) == (None, []), "it was closed, without a word"


@pytest.mark.parametrize("half_open", [True, False])
@pytest.mark.parametrize("first_lives", [True, False])
def test_a_second_return_while_the_app_is_asked_about_the_first(
    first_lives: bool, half_open: bool
) -> None:
    server = new_server(recovery={"skip_middlewares": False})
    slow = Slow(server)
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    if not half_open:
        line.close()
        until(lambda: member.stage is Stage.AWAY)
    slow.hold("connect")
    first = Line(server, line.key())
    assert slow.reached["connect"].wait(DEADLINE)
    server.emit("e", 1, to=line.sid)
    if not first_lives:
        first.close()
    second = asking(server, line)
    assert slow.log.count("connect begins") == 2, "one at a time"
    server.emit("e", 2, to=line.sid)
    slow.release("connect")
    second.connected()
    assert second.sid == line.sid
    server.emit("e", 3, to=line.sid)
    second.read_until(lambda: [event[1] for event in second.events if event[0] == "e"] == [1, 2, 3])
    assert server.stats()["connected"] == 1
    second.close()
    until(lambda: server.stats()["away"] == 1)
    server.disconnect(line.sid)
    until(lambda: leftovers(server) == {})


def test_the_time_may_run_out_while_the_app_is_asked() -> None:
    recovery = {"skip_middlewares": False, "max_disconnection_duration": ENOUGH}
    server = new_server(recovery=recovery)
    slow, line, again = asked_at_return(server)
    gevent.sleep(1.1 * ENOUGH)
    slow.release("connect")
    again.connected()
    assert again.sid == line.sid


def test_a_session_that_was_being_let_in_and_lost_again_still_ends_in_time() -> None:
    recovery = {"skip_middlewares": False, "max_disconnection_duration": ENOUGH}
    server = new_server(recovery=recovery)
    slow = Slow(server)
    line = Line(server).connected()
    slow.hold("connect")
    member = server.manager.member(line.sid, "/")
    ended: list[str] = []
    server.of("/").sockets[line.sid].on_session_end(lambda: ended.append("session end"))
    line.close()
    until(lambda: member.stage is Stage.AWAY)
    again = Line(server, line.key())
    assert slow.reached["connect"].wait(DEADLINE)
    again.close()
    gevent.sleep(1.1 * ENOUGH)
    slow.release("connect")
    until(lambda: leftovers(server) == {})
    assert ended == ["session end"]
    assert slow.log.count("connect ends") == slow.log.count("disconnect ends") == 2


def test_a_replay_that_is_lost_is_replayed_again_however_old() -> None:
    server = new_server()
    time = [1000.0]
    assert server.recovery is not None
    server.recovery.now = lambda: time[0]
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    line.close()
    until(lambda: member.stage is Stage.AWAY)
    server.emit("e", "missed", to=line.sid)
    time[0] += 100
    again = Line(server, line.key()).connected()
    time[0] += 30
    server.emit("e", "new", to=line.sid)
    final = Line(server, line.key())
    final.read_until(lambda: len(final.events) == 2)
    assert [event[1] for event in final.events] == ["missed", "new"]
    assert (again.sid, final.sid) == (line.sid, line.sid)


def test_a_kick_while_the_app_is_asked_wins() -> None:
    server = new_server(recovery={"skip_middlewares": False})
    slow, line, again = asked_at_return(server)
    newest = asking(server, line)
    server.disconnect(line.sid)
    again.read_until(lambda: again.error)  # at once, while the handler runs
    slow.release("connect")
    newest.read_until(lambda: newest.error)
    assert again.error == newest.error == {"message": "Connection rejected by server"}
    assert (again.pid, newest.pid) == (None, None)
    assert slow.log.count("connect begins") == 2, "at the first CONNECT, and at the return"
    again.close()
    newest.close()
    until(lambda: leftovers(server) == {})


def test_all_middlewares_are_asked_if_the_old_connection_is_lost_meanwhile() -> None:
    server = new_server(recovery={"skip_middlewares": False})
    slow = Slow(server)
    asked: list[str] = []
    reached, release = Event(), Event()

    @server.use
    def first(socket: Any) -> None:
        if socket.recovered:
            reached.set()
            assert release.wait(DEADLINE)

    @server.use
    def second(socket: Any) -> bool:
        asked.append(socket.id)
        return not socket.recovered

    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    slow.hold("disconnect")
    again = asking(server, line)
    assert reached.wait(DEADLINE)
    line.close()
    until(lambda: member.stage is Stage.GONE)
    release.set()
    again.read_until(lambda: again.error)
    assert asked == [line.sid] * 2
    slow.release("disconnect")
    again.close()
    until(lambda: leftovers(server) == {})


def test_what_is_needed_may_be_let_go_while_the_app_is_asked() -> None:
    server = new_server(recovery={"skip_middlewares": False, "max_recovery_bytes": 1000})
    slow = Slow(server)
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    line.close()
    until(lambda: member.stage is Stage.AWAY)
    slow.hold("connect")
    again = Line(server, line.key())
    assert slow.reached["connect"].wait(DEADLINE)
    for _ in range(3):
        server.emit("e", "x" * 400, to=line.sid)
    slow.release("connect")
    again.connected()
    assert again.sid != line.sid
    assert server.manager.member(line.sid, "/") is None
    server.emit("e", "new", to=again.sid)
    again.read_until(lambda: again.events == [["e", "new"]])


def test_the_old_connection_may_be_lost_while_the_app_is_asked_about_the_new_one() -> None:
    server = new_server(recovery={"skip_middlewares": False})
    slow = Slow(server)
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    slow.hold("connect")
    slow.hold("disconnect")
    again = Line(server, line.key())
    assert slow.reached["connect"].wait(DEADLINE)
    line.close()
    assert slow.reached["disconnect"].wait(DEADLINE)
    slow.release("connect")
    settle()
    server.emit("e", 1, to=line.sid)
    assert again.pid is None, "its loss is being told"
    slow.release("disconnect")
    again.connected()
    server.emit("e", 2, to=line.sid)
    again.read_until(lambda: len(again.events) == 3)
    assert [event[1] for event in again.events] == [1, "disconnect", 2]
    until(lambda: slow.log[-1] == ("connection", True))
    assert member.stage is Stage.CONNECTED and server.stats()["connected"] == 1


def test_a_client_lost_while_it_is_being_let_in_has_no_session_to_come_back_to() -> None:
    server = new_server()
    slow = Slow(server)
    slow.hold("connect")
    line = Line(server)
    assert slow.reached["connect"].wait(DEADLINE)
    link = line.link
    line.close()
    until(lambda: link.closed)
    slow.release("connect")
    until(lambda: leftovers(server) == {})
    assert slow.log == [
        "connect begins", "connect ends", "disconnect begins", "disconnect ends",
    ]  # fmt: skip


def test_two_that_wait_for_each_other_do_not_wait_for_ever() -> None:
    """Two connections in two namespaces, each asking for the session that the other one holds."""
    server = new_server(namespaces=["/", "/calls"])
    keys: dict[str, Any] = {}
    one, two = Polling(server), Polling(server)
    for client, namespace, where in ((one, "/", 1), (two, "/calls", 8)):
        client.ask_to_join(namespace)
        keys[namespace] = json.loads(client.next()[where:])
    links = [one.link, two.link]
    for link, namespace, where in ((one.link, "/calls", "/calls,"), (two.link, "/", "")):
        link.receive(f"40{where}{json.dumps({'pid': keys[namespace]['pid']})}".encode(), False)
    settle()
    assert server.stats()["greenlets"] == 2
    for link in links:
        link.close(abort=True, reason="transport close")
    until(lambda: server.stats()["greenlets"] == 0)
    for key in keys.values():
        for namespace in keys:
            server.disconnect(key["sid"], namespace=namespace)
    until(lambda: leftovers(server) == {})


def test_a_handler_that_runs_through_a_loss_does_what_it_does_for_the_one_who_returns() -> None:
    server = new_server()
    entered, release = Event(), Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        @socket.on("join")
        def join(room: str) -> None:
            entered.set()
            assert release.wait(DEADLINE)
            socket.join(room)
            socket.data["room"] = room
            socket.emit("joined", room)
            socket.to(room).emit("newcomer", socket.id)

    peer = in_room(server)
    line = Line(server).connected()
    line.emit("join", "tea")
    assert entered.wait(DEADLINE)
    line.close()
    member = server.manager.member(line.sid, "/")
    until(lambda: member.stage is Stage.LEAVING)
    again = asking(server, line)
    settle()
    release.set()
    again.connected()
    again.read_until(lambda: again.events == [["joined", "tea"]])
    assert [name for name, _ in peer.received()] == ["newcomer", "#rtcio:peer-left"]
    assert server.of("/").sockets[line.sid].data == {"room": "tea"}
    assert set(server.rooms(line.sid)) == {line.sid, "tea"}


def test_a_handler_that_runs_beside_a_loss_and_a_return_acknowledges_nothing() -> None:
    """The number of an acknowledgement is valid on the connection that it came on."""
    server = new_server(async_handlers=True)
    entered, release = Event(), Event()

    @server.on("slow")
    def slow(sid: str) -> str:
        entered.set()
        assert release.wait(DEADLINE)
        server.emit("the end", to=sid)
        return "for the lost connection"

    client = Polling(server)
    client.ask_to_join()
    answer = json.loads(client.next()[1:])
    client.emit("slow", number=7)
    assert entered.wait(DEADLINE)
    client.link.close(abort=True, reason="transport close")
    again = Polling(server)
    again.join(auth={"pid": answer["pid"]})
    assert again.sid == answer["sid"]
    release.set()
    assert again.next().startswith('2["the end"')
    server.emit("once more", to=again.sid)
    assert again.next().startswith('2["once more"')


def test_a_relay_is_held_back_until_the_connection_handlers_of_a_return_have_run() -> None:
    server = new_server()
    entered, release = Event(), Event()

    @server.on("connection")
    def connection(socket: Any) -> None:
        if socket.recovered:
            entered.set()
            assert release.wait(DEADLINE)

    target = Line(server).connected()
    line = Line(server).connected()
    member = server.manager.member(line.sid, "/")
    line.close()
    until(lambda: member.stage is Stage.AWAY)
    again = Line(server, line.key()).connected()
    assert entered.wait(DEADLINE)
    again.relay(target.sid, 1)
    again.relay(target.sid, 2)
    until(lambda: len(again.link.inbox) == 2)
    assert server.counters.relayed == 0
    release.set()
    until(lambda: server.counters.relayed == 2)
    again.relay(target.sid, 3)
    target.read_until(lambda: len(target.events) == 3)
    assert [event[1]["data"] for event in target.events] == [1, 2, 3]


# -- random lives ----------------------------------------------------------------------------------

PEOPLE = 3
PERSON = st.integers(0, PEOPLE - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["room", "everybody", "binary", "init-offer"]), PERSON),
        st.tuples(st.just("direct"), PERSON),
        st.tuples(st.just("relay"), PERSON, PERSON),
        st.tuples(st.sampled_from(["deaf", "lose", "forsake", "return"]), PERSON),
        st.tuples(st.sampled_from(["enter", "exit"]), PERSON),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, skip=st.booleans())
def test_whatever_fails_nothing_is_lost_nothing_comes_twice_and_all_is_in_order(
    steps: list[tuple[Any, ...]], skip: bool
) -> None:
    server = new_server(recovery={"skip_middlewares": skip})
    server.of("/").on("connection", lambda socket: None)
    people = [in_room(server) for _ in range(PEOPLE)]
    sids = [phone.sid or "" for phone in people]
    inside = set(range(PEOPLE))
    meant: list[list[Any]] = [[] for _ in people]
    kept: list[list[Any]] = [[] for _ in people]  # what each has sent that the server has not got
    numbers = iter(range(10_000))
    for step, who, *more in steps:
        phone, sid, number = people[who], sids[who], next(numbers)
        if step in ("room", "binary", "init-offer"):
            for each in inside:
                meant[each].append(number)
            name = "#rtcio:init-offer" if step == "init-offer" else "e"
            blob = {"blob": b"\x00" * number} if step == "binary" else {}
            server.emit(name, {"n": number, **blob}, to="tea")
        elif step == "everybody":
            for each in meant:
                each.append(number)
            server.emit("e", {"n": number})
        elif step == "direct":
            meant[who].append(number)
            server.emit("e", {"n": number}, to=sid)
        elif step == "relay" and more[0] != who:
            (meant[more[0]] if phone.connected else kept[who]).append((number, more[0]))
            phone.relay(sids[more[0]], {"n": (number, more[0])})
        elif step == "deaf":
            phone.go_deaf()
        elif step in ("lose", "forsake") and phone.connected:
            getattr(phone, step)()
        elif step == "return" and not phone.connected:
            phone.come_back()
            for each in kept[who]:
                meant[each[1]].append(each)
            kept[who].clear()
        elif step == "enter":
            server.enter_room(sid, "tea")
            inside.add(who)
        elif step == "exit":
            server.leave_room(sid, "tea")
            inside.discard(who)
    for who, phone in enumerate(people):
        if phone.connected:
            phone.forsake()
        phone.come_back()
        for each in kept[who]:
            meant[each[1]].append(each)
        kept[who].clear()
    # Those who came back first have the rest on their way.
    for who, phone in enumerate(people):
        assert phone.sid == sids[who] and phone.recovered
        heard = [number for number in map(number_in, phone.received()) if number is not None]
        assert heard == meant[who]
    assert server.stats()["connected"] == PEOPLE
    end_all(server, *people)


def number_in(event: tuple[str, list[Any]]) -> Any:
    name, args = event
    if name == "#rtcio:peer-left":
        return None
    payload = args[0]["data"] if name == "#rtcio:message" else args[0]
    return tuple(payload["n"]) if isinstance(payload["n"], list) else payload["n"]


class Burst:
    """One who sends, by relays and by events of the server, to one whose line is cut."""

    def __init__(self) -> None:
        self.server = new_server(limits=None)
        self.sender = Line(self.server).connected()
        self.sent = 0

    def send(self, sid: str, size: int) -> None:
        payload = [self.sent, "x" * size]
        if self.sent % 2:
            relayed = self.server.counters.relayed
            self.sender.relay(sid, payload)
            until(lambda: self.server.counters.relayed > relayed)
        else:
            self.server.emit("e", {"data": payload}, to=sid)
        self.sent += 1


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.booleans()), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 300), min_size=5, max_size=20),
)
def test_a_burst_may_be_cut_at_any_byte(cuts: list[tuple[int, bool]], sizes: list[int]) -> None:
    burst = BURST or BURST.append(Burst()) or BURST
    server, first = burst[0].server, burst[0].sent
    line = Line(server).connected()
    sid = line.sid
    member = server.manager.member(sid, "/")
    heard: list[int] = []
    for cut, noticed in cuts:
        for size in sizes:
            burst[0].send(sid, size)
        settle()
        line.sip(cut)
        heard += [event[1]["data"][0] for event in line.events]
        if noticed:
            line.close()
            until(lambda: member.stage is Stage.AWAY)
        for size in sizes[:3]:
            burst[0].send(sid, size)
        line = Line(server, line.key()).connected()
        assert line.sid == sid
    burst[0].send(sid, 1)
    line.read_until(lambda: line.events[-1:] and line.events[-1][1]["data"][0] == burst[0].sent - 1)
    heard += [event[1]["data"][0] for event in line.events]
    assert heard == list(range(first, burst[0].sent))
    server.disconnect(sid)


BURST: list[Burst] = []
