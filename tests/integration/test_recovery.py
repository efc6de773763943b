"""Connection state recovery, with real socket.io-client sockets over lines that fail."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.line import Line
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running, free_port, running

#: How a client of these tests comes back, in ms.
AGAIN = {
    "reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 200,
    "randomizationFactor": 0,
}  # fmt: skip
TRANSPORTS = ["websocket", "polling"]
UNNOTICED = 40.0  # seconds in which a client has surely noticed that its line is dead


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "recovering", connection_state_recovery=True) as server:
        yield server


def is_empty(stats: dict[str, Any]) -> bool:
    return not any(stats[name] for name in ("connected", "away", "rooms", "greenlets"))


def forget_all(server: Running, node: Driver) -> None:
    """Everybody leaves, and the server keeps nothing of them."""
    node.forget_all()
    server.eventually("/stats", is_empty)


@pytest.fixture
def line(server: Running, node: Driver) -> Iterator[Line]:
    with Line(server.port) as line:
        yield line
        forget_all(server, node)


def over(line: Line, node: Driver, transport: str = "websocket", **options: Any) -> Client:
    """A client in the room ``kitchen``, on a line that may fail.

    ``transport``: one, or several with commas between, of which it begins with the first.
    """
    auth = {"rooms": ["kitchen"], **options.pop("auth", {})}
    client = node.connect(line.url, transports=transport.split(","), auth=auth, **AGAIN, **options)
    # Its session begins with the `connection` handlers. Under threads a client may know of its
    # connection, and lose it, before.
    assert client.call("echo", "they have run") is not None
    return client


def beside(server: Running, node: Driver, **options: Any) -> Client:
    """A client in the same room, on a line that holds."""
    auth = {"rooms": ["kitchen"]}
    return node.connect(server.url, transports=["websocket"], auth=auth, **options)


def back(client: Client, count: int = 2) -> None:
    """Waits until it is connected again, and asserts that it is the same to everybody."""
    report = client.wait("connect", count=count)
    first = client.wait("connect")
    assert report["recovered"], client.reports[-5:]
    assert report["id"] == first["id"]


def said(client: Client) -> list[Any]:
    return [args[0] for args in client.received("said")]


def heard_of(server: Running, sid: str) -> list[Any]:
    """What the app has heard of a socket."""
    return [each for each in server.get_json("/heard") if sid in each]


# -- what was missed -------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["after some events", "before any event"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_was_sent_during_a_cut_of_three_seconds_arrives_once_and_in_order(
    server: Running, node: Driver, line: Line, transport: str, before: str
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    sid = client.id
    first = 0
    if before == "after some events":
        other.relay(sid, -1)
        client.wait_for("#rtcio:message")
        first = 1
    line.cut()
    began = time.monotonic()
    other.burst("#rtcio:message", {"source": other.id, "target": sid, "data": SEQ}, count=50)
    other.burst("say", "kitchen", SEQ, count=50)
    assert other.call("echo", "all of it is with the server") is not None
    client.wait("disconnect")
    time.sleep(max(0.0, began + 3 - time.monotonic()))
    assert said(client) == []
    line.mend()

    back(client)
    other.relay(sid, 50)
    other.emit("say", "kitchen", 50)
    client.wait_for("#rtcio:message", count=first + 51)
    client.wait_for("said", count=51)
    other.fence(client)
    assert client.relayed() == [*[-1] * first, *range(51)]
    assert said(client) == list(range(51))
    assert client.call("echo", "still here") == "still here"
    client.relay(other, "and back")
    client.fence(other)
    assert other.relayed() == ["and back"]


@pytest.mark.parametrize("transport", [*TRANSPORTS, "polling,websocket"])
def test_a_burst_may_be_cut_at_any_byte(
    server: Running, node: Driver, line: Line, transport: str, seed: int
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    chance = random.Random(f"{transport} {seed}")
    sent = cuts = 0
    for number in range(12):
        torn, cut = line.torn, chance.random() < 0.7 or number < 5
        if cut:
            line.cut_after(chance.randrange(8_000))
        envelope = {"source": other.id, "target": client.id, "data": SEQ}
        other.burst("#rtcio:message", envelope, count=40, start=sent)
        if chance.random() < 0.5:
            time.sleep(chance.random() / 20)
            line.strand()
        other.burst("say", "kitchen", SEQ, count=40, start=sent)
        sent += 40
        other.call("echo", number)
        if cut:
            cuts += 1
            if line.torn == torn:  # so few bytes were enough, or are still on their way
                line.cut()
        line.mend()
        # socket.io-client whose WebSocket dies in the middle of an upgrade has stopped to poll: it
        # notices when no ping has come for 20 s.
        client.wait_for("said", count=sent, timeout=UNNOTICED)
        client.wait_for("#rtcio:message", count=sent)
    other.fence(client)
    assert client.relayed() == list(range(sent))
    assert said(client) == list(range(sent))
    reports = [each for each in client.reports if each["type"] == "connect"]
    assert cuts > 4 and len(reports) > 1
    assert {report["id"] for report in reports} == {client.id}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cut_between_an_event_and_its_attachments_tears_nothing_apart(
    server: Running, node: Driver, line: Line, transport: str, seed: int
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    chance = random.Random(f"attachments {transport} {seed}")
    # At random, too: what goes over Werkzeug is compressed, and later copies to next to nothing.
    data = {"number": SEQ, "blobs": [chance.randbytes(300), chance.randbytes(300)]}
    sent = 0
    for number in range(8):
        torn = line.torn
        line.cut_after(chance.randrange(9_000 if number % 2 else 1_000))
        other.burst("#rtcio:message", other.envelope(client, data), count=10, start=sent)
        other.burst("say", "kitchen", data, count=10, start=sent)
        sent += 10
        client.wait_for("said", count=sent)
        client.wait_for("#rtcio:message", count=sent)
        if line.torn == torn:  # so few bytes were enough
            line.cut()
        line.mend()
    other.fence(client)
    meant = [{**data, "number": number} for number in range(sent)]
    assert client.relayed() == meant
    assert said(client) == meant
    assert len([each for each in client.reports if each["type"] == "connect"]) > 1
    assert {each["id"] for each in client.reports if each["type"] == "connect"} == {client.id}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_a_client_emits_while_it_is_away_arrives_with_its_source(
    server: Running, node: Driver, line: Line, transport: str
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    line.cut()
    client.wait("disconnect")
    # What rtc.io sends then: socket.id is undefined, and JSON leaves that out.
    client.burst("#rtcio:message", {"target": other.id, "data": SEQ}, count=20)
    client.burst("say", "kitchen", SEQ, count=20)
    line.mend()
    back(client)
    client.relay(other, 20)
    client.fence(other)
    assert other.relayed() == list(range(21))
    assert {args[0]["source"] for args in other.received("#rtcio:message")} == {client.id}
    other.wait_for("said", count=20)
    assert said(other) == list(range(20))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_five_drops_in_a_row_leave_it_the_same(
    server: Running, node: Driver, line: Line, transport: str
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    for number in range(5):
        line.cut()
        other.relay(client, number)
        client.wait("disconnect", count=number + 1)
        line.mend()
        back(client, number + 2)
    other.fence(client)
    assert client.relayed() == list(range(5))


def test_five_drops_before_anything_could_be_received(
    server: Running, node: Driver, line: Line
) -> None:
    other, client = beside(server, node), over(line, node)
    other.relay(client, "while it was there")
    for number in range(5):
        line.cut_after(0)  # the answers to its attempts get lost, too
        other.relay(client, number)
        time.sleep(0.3)
    line.mend()
    other.fence(client)
    assert client.relayed() == ["while it was there", *range(5)]
    assert all(each["recovered"] for each in client.reports[1:] if each["type"] == "connect")


def test_it_works_with_the_messagepack_parser(node: Driver) -> None:
    with (
        running(
            "listen", "recovering", connection_state_recovery=True, serializer="msgpack"
        ) as server,
        Line(server.port) as line,
    ):
        other, client = beside(server, node, parser="msgpack"), over(line, node, parser="msgpack")
        line.cut()
        client.wait("disconnect")
        other.burst("#rtcio:message", other.envelope(client, SEQ), count=50)
        other.relay(client, {"blob": b"\x00\xff", "text": "é"})
        other.burst("say", "kitchen", SEQ, count=50)
        client.emit("#rtcio:message", {"target": other.id, "data": b"kept"})
        other.call("echo", 1)
        line.mend()
        back(client)
        other.fence(client)
        client.fence(other)
        assert client.relayed() == [*range(50), {"blob": b"\x00\xff", "text": "é"}]
        assert said(client) == list(range(50))
        assert other.relayed() == [b"kept"]
        assert other.received("#rtcio:message")[0][0]["source"] == client.id
        forget_all(server, node)


@pytest.mark.parametrize(
    "way",
    [
        "command-line", "flask-rtcio-run", "flask-run", "gunicorn-gevent",
        "gunicorn-geventwebsocket", "pywsgi", "pywsgi-geventwebsocket",
    ],
)  # fmt: skip
def test_it_works_however_the_server_runs(node: Driver, way: str) -> None:
    with (
        running(way, "recovering", connection_state_recovery=True) as server,
        Line(server.port) as line,
    ):
        other = beside(server, node)
        clients = [over(line, node, transport) for transport in TRANSPORTS]
        other.emit("say", "kitchen", 0)
        for client in clients:
            client.wait_for("said")
        line.cut()
        for client in clients:
            client.wait("disconnect")
            other.relay(client, "missed")
            client.emit("#rtcio:message", {"target": other.id, "data": "kept"})
        other.emit("say", "kitchen", 1)
        other.call("echo", 1)
        line.mend()
        for client in clients:
            back(client)
            other.fence(client)
            assert client.relayed() == ["missed"]
            assert said(client) == [0, 1]
            client.fence(other)
        assert other.relayed() == ["kept", "kept"]
        forget_all(server, node)


def test_the_public_server_has_it_on(node: Driver) -> None:
    with running("public-server") as server, Line(server.port) as line:
        ann, bob = (
            node.connect(url, transports=["websocket"], **AGAIN) for url in (server.url, line.url)
        )
        for client in (ann, bob):
            client.emit("join-room", {"roomId": "tea", "name": "of the tests"})
            client.wait_for("join-ok")
        line.cut()
        bob.wait("disconnect")
        ann.emit("chat-message", {"roomId": "tea", "text": "missed"})
        ann.relay(bob, "missed")
        line.mend()
        back(bob)
        ann.fence(bob)
        assert bob.relayed() == ["missed"]
        assert [args[0]["text"] for args in bob.received("chat-message")] == ["missed"]
        assert ann.received("user-connected")[-1][0]["id"] == bob.id


def test_all_namespaces_of_a_connection_come_back(
    server: Running, node: Driver, line: Line
) -> None:
    client = over(line, node)
    calls = node.connect(line.url, namespace="/calls", shares=client, transports=["websocket"])
    assert calls.call("join-room", {"roomId": "hall"}) is True
    other = beside(server, node)
    other.relay(client, 0)
    client.wait_for("#rtcio:message")
    line.cut()
    client.wait("disconnect")
    other.relay(client, 1)
    other.fence(beside(server, node))
    line.mend()
    back(client)
    back(calls)
    other.fence(client)
    assert client.relayed() == [0, 1]
    assert calls.answer(calls.ask("echo", 1)) == ["calls", 1]
    for sid in (client.id, calls.id):
        assert ["connection", sid, True, None] in server.get_json("/heard")
    calls.disconnect()  # of one connection, the first to be forgotten closes it for all
    calls.wait("disconnect", count=2)


# -- what the app and the others hear --------------------------------------------------------------


def test_a_loss_and_a_return_are_told(server: Running, node: Driver, line: Line) -> None:
    other, client = beside(server, node), over(line, node, auth={"name": "Ann"})
    sid = client.id
    line.cut()
    assert other.wait_for("#rtcio:peer-left") == [{"id": sid}]
    line.mend()
    back(client)
    client.fence(other)
    assert other.received("#rtcio:peer-left") == [[{"id": sid}]]
    told = [each for each in heard_of(server, sid) if each[0] in ("connection", "lost")]
    assert [each[0] for each in told] == ["connection", "lost", "connection"]
    assert told[1][2] in ("transport close", "transport error")
    assert told[0] == ["connection", sid, False, None]
    assert told[2] == ["connection", sid, True, "Ann"], "its data is what it was"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_returns_before_the_loss_was_noticed_takes_over_and_nobody_hears_of_it(
    server: Running, node: Driver, line: Line, transport: str
) -> None:
    other, client = beside(server, node), over(line, node, transport)
    sid = client.id
    before = heard_of(server, sid)
    line.strand()
    client.wait("disconnect")
    other.relay(sid, "into the void")
    # On polling it says goodbye in a request of its own, before the first attempt to come back.
    client.wait("reconnect_attempt", count=2)
    line.mend()
    back(client)
    other.relay(sid, "new")
    other.fence(client)
    client.fence(other)
    assert client.relayed() == ["into the void", "new"]
    assert other.received("#rtcio:peer-left") == []
    assert heard_of(server, sid) == before
    assert server.get_json("/stats")["connected"] == 2
    server.eventually("/connections", lambda found: len(found) == 2)


def test_a_session_that_the_app_saved_survives(server: Running, node: Driver, line: Line) -> None:
    client = over(line, node)
    assert server.get_json(f"/do/save_session?sid={client.id}") is None
    line.cut()
    client.wait("disconnect")
    line.mend()
    back(client)
    assert server.get_json(f"/do/get_session?sid={client.id}") == {"user": client.id}


def test_a_handler_that_runs_through_a_drop_answers_on_return(
    server: Running, node: Driver, line: Line
) -> None:
    client = over(line, node)
    assert server.get("/hold").read() == b"ok"
    client.emit("slow-join", "parlour")
    server.eventually("/heard", lambda heard: ["slow-join", client.id] in heard)
    line.cut()
    client.wait("disconnect")
    line.mend()
    time.sleep(0.3)  # it is back, and waits for what it had begun
    assert len([each for each in client.reports if each["type"] == "connect"]) == 1
    server.release()
    back(client)
    assert client.wait_for("joined") == ["parlour"]
    other = beside(server, node)
    other.emit("say", "parlour", "come in")
    client.wait_for("said")


def test_a_client_that_is_cut_off_while_it_connects_leaves_nothing(
    server: Running, node: Driver, line: Line
) -> None:
    assert server.get("/hold").read() == b"ok"
    client = node.open(
        line.url, transports=["websocket"], auth={"rooms": ["kitchen"], "slow": "one"}, **AGAIN
    )
    server.eventually("/heard", lambda heard: ["connecting", "one"] in heard)
    open_ones = server.get_json("/stats")["connections"]
    line.cut()
    server.eventually("/stats", lambda stats: stats["connections"] < open_ones)
    server.release()
    server.eventually("/stats", is_empty)
    line.mend()
    assert not client.wait("connect")["recovered"]


# -- who does not come back to a session -----------------------------------------------------------


def test_after_the_time_there_is_a_fresh_session(node: Driver) -> None:
    recovery = {"max_disconnection_duration": 1}
    with (
        running("listen", "recovering", connection_state_recovery=recovery) as server,
        Line(server.port) as line,
    ):
        client = over(line, node)
        sid = client.id
        line.cut()
        client.wait("disconnect")
        server.eventually("/heard", lambda heard: ["session end", sid] in heard)
        server.eventually("/stats", is_empty)
        line.mend()
        report = client.wait("connect", count=2)
        assert not report["recovered"] and report["id"] != sid
        for number in range(2, 20):  # on a busy machine a second may be too short
            line.cut()
            client.wait("disconnect", count=number)
            line.mend()
            if client.wait("connect", count=number + 1)["recovered"]:
                break
        else:
            raise AssertionError("a fresh session is none to come back to")
        forget_all(server, node)


def test_after_a_restart_there_is_a_fresh_session_and_the_old_offset_does_no_harm(
    node: Driver,
) -> None:
    """socket.io-client keeps the offset that it has until the fresh session's first event."""
    port = free_port()
    options = {"connection_state_recovery": True, "port": port}
    with Line(port) as line:
        with running("listen", "recovering", **options) as server:
            client = over(line, node)
            sid = client.id
            for _ in range(3):
                server.get_json("/do/emit")
            client.wait_for("said", count=3)
            line.cut()
            client.wait("disconnect")
        with running("listen", "recovering", **options) as server:
            line.mend()
            report = client.wait("connect", count=2)
            assert not report["recovered"] and report["id"] != sid
            other = beside(server, node)
            line.cut()
            client.wait("disconnect", count=2)
            other.emit("say", "kitchen", "missed")
            other.relay(report["id"], "missed")
            other.call("echo", 1)
            line.mend()
            again = client.wait("connect", count=3)
            assert again["recovered"] and again["id"] == report["id"]
            client.wait_for("said", count=4)
            client.wait_for("#rtcio:message")
            assert said(client)[3:] == ["missed"]
            assert client.relayed() == ["missed"]
            forget_all(server, node)


@pytest.mark.parametrize("how", ["disconnect", "disconnect_sockets"])
def test_who_is_put_out_while_away_does_not_come_back(
    server: Running, node: Driver, line: Line, how: str
) -> None:
    client = over(line, node)
    sid = client.id
    line.cut()
    client.wait("disconnect")
    # The session waits before the handlers run; if it ended then, they would hear that it is over.
    server.eventually("/heard", lambda heard: ["disconnect", sid] in [each[:2] for each in heard])
    server.get_json(f"/do/{how}?sid={sid}")
    server.eventually("/stats", is_empty)
    server.get_json("/do/emit")
    line.mend()
    report = client.wait("connect", count=2)
    assert not report["recovered"] and report["id"] != sid
    assert client.call("echo", "fresh") == "fresh"
    assert said(client) == []
    # The handler runs beside the call that has ended the session.
    server.eventually("/heard", lambda heard: ["session end", sid] in heard)


@pytest.mark.parametrize("how", ["sockets_leave", "close_room"])
def test_a_room_left_meanwhile_is_left(server: Running, node: Driver, line: Line, how: str) -> None:
    client = over(line, node)
    line.cut()
    client.wait("disconnect")
    server.eventually("/stats", lambda stats: stats["away"] == 1)
    server.get_json(f"/do/{how}")
    server.get_json("/do/emit")
    line.mend()
    back(client)
    server.get_json("/do/emit")
    assert client.call("echo", "after it") == "after it"
    assert said(client) == []
    assert not any(key.endswith("kitchen") for key in server.get_json("/rooms"))


def test_who_is_banned_meanwhile_is_refused_where_middlewares_run(node: Driver) -> None:
    recovery = {"skip_middlewares": False}
    with (
        running(
            "listen",
            "recovering",
            environ={"RTCIO_TEST_BOUNCER": "1"},
            connection_state_recovery=recovery,
        ) as server,
        Line(server.port) as line,
    ):
        ann, bob = (over(line, node, auth={"name": name}) for name in ("Ann", "Bob"))
        sids = (ann.id, bob.id)
        line.cut()
        ann.wait("disconnect"), bob.wait("disconnect")
        assert server.get("/ban/Bob").read() == b"ok"
        line.mend()
        back(ann)
        error = bob.wait("connect_error", message="banned")
        assert error["data"] == {"name": "Bob"}
        server.eventually("/stats", lambda stats: (stats["connected"], stats["away"]) == (1, 0))
        heard = server.get_json("/heard")
        assert heard.count(["use", "Ann"]) == heard.count(["use", "Bob"]) == 2
        assert ["connection", sids[0], True, "Ann"] in heard
        assert ["connection", sids[1], True, "Bob"] not in heard
        forget_all(server, node)


def test_who_leaves_on_purpose_leaves_no_session(server: Running, node: Driver, line: Line) -> None:
    client = over(line, node)
    sid = client.id
    client.disconnect()
    client.wait("disconnect")
    server.eventually("/stats", is_empty)
    client.connect()
    report = client.wait("connect", count=2)
    assert not report["recovered"] and report["id"] != sid


def joined(server: Running, auth: Any = None) -> tuple[RawWebSocket, dict[str, Any]]:
    """A peer of one's own, and what CONNECT was answered with."""
    peer = RawWebSocket(server)
    peer.namespace = "/"
    peer.send(f"40{'' if auth is None else json.dumps(auth)}")
    answer = peer.receive()
    assert isinstance(answer, str) and answer.startswith("40{"), answer
    return peer, json.loads(answer[2:])


def test_a_forged_or_used_up_pid_yields_nothing_of_anybodys(
    server: Running, node: Driver, line: Line
) -> None:
    client = over(line, node)
    server.get_json("/do/emit")
    client.wait_for("said")
    first, own = joined(server, {"rooms": ["kitchen"]})
    server.get_json("/do/emit")
    first.receive()
    first.send("41")
    server.eventually("/stats", lambda stats: stats["connected"] == 1)
    for pid in (own["pid"], own["pid"][:-1], client.id, own["sid"], "", "x", None, 7, [], {}):
        thief, answer = joined(server, {"pid": pid, "offset": "0"})
        assert answer["sid"] not in (client.id, own["sid"])
        assert answer["pid"] != own["pid"]
        thief.send('421["echo","nothing more"]')
        assert thief.receive() == '431["nothing more"]'
        thief.send("41")
        thief.connection.close()
    first.connection.close()


def so_far(peer: RawWebSocket) -> tuple[list[Any], bool]:
    """What a peer has been sent by now, and whether its connection still is one."""
    packets: list[Any] = []
    with suppress(ConnectionClosed):
        peer.send('421["echo","so far"]')
    with suppress(ConnectionClosed):
        while (packet := peer.receive()) != '431["so far"]':
            packets.append(packet)
        return packets, True
    return packets, False


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after the other"])
@pytest.mark.parametrize("way", ["listen", "werkzeug"])
def test_of_two_with_one_pid_one_has_the_session(way: str, at_once: bool) -> None:
    """No ping comes while it runs: the peers do nothing by themselves."""
    with running(
        way, "recovering", connection_state_recovery=True, ping_interval=600
    ) as server, ExitStack() as ends:  # fmt: skip
        peer, own = joined(server, {"rooms": ["kitchen"]})
        # Its handlers have run: until then there is no session to come back to.
        assert so_far(peer) == ([], True)
        peer.connection.socket.shutdown(socket.SHUT_RDWR)
        server.eventually("/stats", lambda stats: stats["away"] == 1)
        server.get_json("/do/emit")
        twins = [ends.enter_context(RawWebSocket(server)) for _ in range(2)]
        for number, twin in enumerate(twins, 1):
            twin.send(f"40{json.dumps({'pid': own['pid']})}")
            if not at_once:
                server.eventually("/stats", lambda stats, n=number: stats["recoveries"] == n)
        # One was put out by the other: before it was let in, or after.
        server.eventually("/stats", lambda stats: stats["recoveries"] and stats["connections"] == 1)
        server.get_json("/do/emit")
        (first, first_lives), (second, second_lives) = map(so_far, twins)
        assert first_lives is not second_lives
        assert second_lives or at_once, "the newest has it"
        winner, loser = (first, second) if first_lives else (second, first)
        assert json.loads(winner.pop(0)[2:]) == own
        assert [json.loads(packet[2:])[:2] for packet in winner] == [["said", "to the kitchen"]] * 2
        assert winner[0] != winner[1]
        # What it missed is all that the other may have got: nothing new.
        assert loser in ([], [f"40{json.dumps(own, separators=(',', ':'))}", winner[0]])
        assert server.get_json("/stats")["connected"] == 1


def test_the_scope_of_a_room_counts_who_is_away(node: Driver) -> None:
    with (
        running(
            "listen", "recovering", connection_state_recovery=True, relay_scope="room"
        ) as server,
        Line(server.port) as line,
    ):
        client, friend = over(line, node), beside(server, node)
        stranger = node.connect(server.url, transports=["websocket"])
        line.cut()
        client.wait("disconnect")
        stranger.relay(client, "from elsewhere")
        assert stranger.call("echo", 1) == 1
        friend.relay(client, "from the room")
        client.emit("#rtcio:message", {"target": friend.id, "data": "to the room"})
        client.emit("#rtcio:message", {"target": stranger.id, "data": "to elsewhere"})
        line.mend()
        back(client)
        friend.fence(client)
        client.fence(friend)
        assert client.relayed() == ["from the room"]
        assert friend.relayed() == ["to the room"]
        assert stranger.relayed() == []
        forget_all(server, node)
