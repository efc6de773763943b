"""``async_mode="threading"``: many threads at random, which take turns as often as Python can.

`tests/server/test_threads_at_once.py` and its neighbours show each race by itself. Here nobody
decides who comes when; in some seconds each of those races happened, again and again.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from socketio.exceptions import TimeoutError

from rtcio_sync import Lobby, Server
from rtcio_sync.engineio.socket import Socket
from tests.clients import Polling, still_held
from tests.threads import Wire
from tests.timing import DEADLINE, wait_until
from tests.wsgi import environ_of

SECONDS = 4.0


@pytest.fixture(autouse=True)
def hasty() -> Iterator[None]:
    """Python's threads take turns after each few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Storm:
    """Threads that do something again and again; what they raised.

    They stop when the time is over and it was ``enough``, which a busy machine needs longer for.
    """

    def __init__(self, enough: Callable[[], object]) -> None:
        self.errors: list[str] = []
        self.enough = enough
        self.end = time.monotonic() + SECONDS
        self.last = time.monotonic() + DEADLINE

    def run(self, *does: Callable[[random.Random], Any]) -> None:
        threads = [
            threading.Thread(target=self._again_and_again, args=(do, random.Random(number)))
            for number, do in enumerate(does)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.errors, self.errors[0]

    def _again_and_again(self, do: Callable[[random.Random], Any], chance: random.Random) -> None:
        while not self.errors and self._goes_on():
            try:
                do(chance)
            except BaseException:  # noqa: BLE001  (whatever it is, it is a failure)
                self.errors.append(traceback.format_exc())

    def _goes_on(self) -> bool:
        now = time.monotonic()
        return now < self.end or (now < self.last and not self.enough())


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may be raised in a thread of the server, nor logged as an error."""
    found: list[str] = []

    def keep(of: threading.ExceptHookArgs) -> None:
        found.append("".join(traceback.format_exception(of.exc_value)))

    monkeypatch.setattr(threading, "excepthook", keep)
    yield
    assert not found, found[0]
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def comes(server: Server, known: dict[str, str]) -> tuple[Socket, Wire]:
    """A client that opens a WebSocket and joins. ``known``: what a client names that comes back."""
    engine, wire = server.eio, Wire()
    eio_sid = engine.generate_id()
    link = engine.sockets[eio_sid] = Socket(engine, eio_sid)
    environ = environ_of("GET", {"transport": "websocket"})
    engine._trigger_event("connect", eio_sid, environ, run_async=False)
    engine.heartbeat.begin(link)
    link.open_websocket(wire)
    link.message_received(f"40{json.dumps(known)}".encode(), False)
    wait_until(lambda: wire.sent or wire.closed)
    assert not wire.sent or wire.sent[0].startswith("40{"), "something came before CONNECT"
    return link, wire


def goes(link: Socket, chance: random.Random) -> bool:
    """It leaves, or is lost, or both at once; whether it said that it leaves."""
    if leaves := chance.random() < 0.3:
        link.message_received(b"41", False)
    if chance.random() < 0.3:
        end = {"abort": True, "reason": "ping timeout"}
        threading.Thread(target=link.close, kwargs=end).start()
    link.connection_lost(None, False)
    return leaves


def ends_with_nothing(server: Server) -> None:
    """Whatever has happened, nothing is left of it."""
    assert server.recovery is not None
    for session in list(server.recovery._sessions.values()):
        server.disconnect(session.member.sid, namespace=session.member.namespace)
    for link in list(server.eio.sockets.values()):
        link.close(abort=True)

    def left() -> dict[str, Any]:
        stats = server.stats()
        counts = {name: stats[name] for name in ("connected", "away", "recovery_bytes")}
        return {
            **counts,
            "held": still_held(server),
            "at work": server.eio.working,
            "not ended": stats["connects"] - stats["disconnects"],
            "seats": server.eio.seats.taken,
            "backlog": server.eio.backlog.holdings.cost,
        }

    # A thread that closes a connection may still be at its last lines.
    with suppress(AssertionError):
        wait_until(lambda: not any(left().values()))
    assert not any(left().values()), left()
    server.eio.shutdown()


@pytest.mark.usefixtures("raised")
@pytest.mark.parametrize("async_handlers", [False, True])
def test_nothing_is_doubled_or_left_behind_when_clients_come_go_and_return(
    async_handlers: bool,
) -> None:
    server = Server(
        async_mode="threading", connection_state_recovery=True, async_handlers=async_handlers
    )
    sids: list[str] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.on("join", lambda room: socket.join(room))
        socket.on("leave", lambda room: socket.leave(room))
        socket.on("say", lambda room: socket.to(room).emit("said", socket.id))

    class Peer:
        """One client: on each call it comes, or comes back, does something, and goes."""

        def __init__(self) -> None:
            self.known: dict[str, str] = {}
            self.sent = 0

        def __call__(self, chance: random.Random) -> None:
            link, wire = comes(server, self.known)
            if wire.sent:
                answer = json.loads(wire.sent[0][2:])
                self.known = {"pid": answer["pid"]}
                sids.append(answer["sid"])
                del sids[:-30]
                self._talk(link, answer["sid"], chance)
                self._check(wire.sent)
            if goes(link, chance):
                self.known = {}

        def _talk(self, link: Socket, sid: str, chance: random.Random) -> None:
            for _ in range(chance.randrange(5, 40)):
                what, room = chance.random(), f"room {chance.randrange(4)}"
                if what < 0.5:
                    event = chance.choice(["join", "leave", "say"])
                    link.message_received(f'42["{event}","{room}"]'.encode(), False)
                else:
                    self.sent += 1
                    to = chance.choice(sids)
                    envelope = f'{{"source":"{sid}","target":"{to}","data":{self.sent}}}'
                    link.message_received(f'42["#rtcio:message",{envelope}]'.encode(), False)

        def _check(self, packets: list[str]) -> None:
            relayed = defaultdict(list)
            for packet in list(packets):
                if packet.startswith("42["):
                    name, *arguments, self.known["offset"] = json.loads(packet[2:])
                    if name == "#rtcio:message":
                        relayed[arguments[0]["source"]].append(arguments[0]["data"])
            for numbers in relayed.values():
                assert numbers == sorted(set(numbers)), "doubled, or out of order"

    def meddle(chance: random.Random) -> None:
        """What apps do from threads of their own."""
        sid, room = chance.choice(sids or [""]), f"room {chance.randrange(4)}"
        with suppress(ValueError, TimeoutError):  # it has left
            chance.choice(
                [
                    lambda: server.emit("news", "now"),
                    lambda: server.emit("question", to=room, callback=lambda *answer: None),
                    lambda: server.call("question", to=sid, timeout=0.001) if sid else None,
                    lambda: server.disconnect(sid),
                    lambda: server.enter_room(sid, room),
                    lambda: server.close_room(room),
                    server.fetch_sockets,
                    server.of("/").rooms.values,
                    server.stats,
                ]
            )()

    def stormy() -> bool:
        stats = server.stats()
        return bool(stats["connects"] and stats["recoveries"] and stats["relayed"])

    Storm(stormy).run(*(Peer() for _ in range(6)), meddle, meddle)
    assert stormy(), server.stats()
    ends_with_nothing(server)


@pytest.mark.usefixtures("raised")
def test_no_room_of_a_lobby_has_a_guest_too_many_and_none_has_one_in_the_end() -> None:
    server = Server(async_mode="threading", connection_state_recovery=True)
    lobby = Lobby(server, max_peers=2)
    rooms = ["tea", "milk"]
    sids: list[str] = []
    most: list[int] = []

    class Peer:
        """One client: on each call it comes, or comes back, joins and leaves rooms, and goes."""

        def __init__(self) -> None:
            self.known: dict[str, str] = {}

        def __call__(self, chance: random.Random) -> None:
            link, wire = comes(server, self.known)
            if wire.sent:
                answer = json.loads(wire.sent[0][2:])
                self.known = {"pid": answer["pid"]}
                sids.append(answer["sid"])
                del sids[:-30]
                for _ in range(chance.randrange(3, 15)):
                    event = chance.choice(["join-room", "leave-room", "media-state", "check-room"])
                    asked = json.dumps([event, {"roomId": chance.choice(rooms), "mic": True}])
                    link.message_received(f"42{asked}".encode(), False)
            if goes(link, chance):
                self.known = {}

    def meddle(chance: random.Random) -> None:
        sid, room = chance.choice(sids or [""]), chance.choice(rooms)
        with suppress(ValueError):  # it has left
            chance.choice(
                [
                    lambda: most.append(len(lobby.peers(room))),
                    lambda: lobby.remove(sid, room),
                    lambda: server.leave_room(sid, room),
                    lambda: server.close_room(room),
                    lambda: server.disconnect(sid),
                    lobby.stats,
                ]
            )()

    Storm(lambda: 2 in most).run(*(Peer() for _ in range(6)), meddle, meddle)
    assert max(most) == 2, "it was never full, or too full"
    ends_with_nothing(server)
    wait_until(lambda: lobby.stats() == {"rooms": 0, "peers": 0})


@pytest.mark.usefixtures("raised")
def test_all_that_is_sent_arrives_once_and_in_order_on_polls_and_through_upgrades() -> None:
    server = Server(async_mode="threading", connection_state_recovery=True)

    def numbers_in(packets: list[str]) -> list[int]:
        found = (re.match(r'42\["number",(\d+)', packet) for packet in packets)
        return [int(each[1]) for each in found if each is not None]

    def poll(client: Polling) -> list[str]:
        status, packets = client.poll()
        assert status == 200, packets
        return packets

    def one(chance: random.Random) -> None:
        client = Polling(server)
        client.join()
        sid, link, total = client.sid, client.link, chance.randrange(20, 200)
        heard: list[int] = []

        def send() -> None:
            for number in range(total):
                server.emit("number", number, to=sid)

        sender = threading.Thread(target=send)
        sender.start()
        polls = chance.choice([1, 3, 10, total])
        while len(heard) < total and polls:
            heard += numbers_in(poll(client))
            polls -= 1
        if len(heard) < total:
            wire, last = Wire(), []
            link.open_websocket(wire)
            poller = threading.Thread(target=lambda: last.extend(poll(client)))
            poller.start()
            link.message_received(b"2probe", False)
            poller.join()
            link.message_received(b"5", False)
            sender.join()
            heard += numbers_in(last) + numbers_in(wire.sent)
            link.connection_lost(None, False)
        else:
            ends = [lambda: server.disconnect(sid), lambda: server.eio.disconnect(client.eio_sid)]
            threads = [threading.Thread(target=end) for end in ends]
            for thread in threads:
                thread.start()
            packets: list[str] = []
            while "1" not in packets:
                packets = poll(client)
            for thread in (*threads, sender):
                thread.join()
        assert heard == list(range(total))
        done.append(total)

    done: list[int] = []
    Storm(lambda: done).run(*[one] * 6)
    assert done, "there was no storm"
    ends_with_nothing(server)
