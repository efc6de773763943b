"""Several servers on one pub/sub back end: relays, rooms and emits cross, and each arrives once."""

from __future__ import annotations

from typing import Any

import gevent
import gunicorn.config
import gunicorn.workers.base
import pytest
from gevent.event import Event

from rtcio_sync import Server, add_default_listeners
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.cluster import pubsub_manager as published
from rtcio_sync.cluster.pubsub_manager import graft
from tests.bus import Bus, BusManager, PlainProcess
from tests.clients import Polling
from tests.timing import DEADLINE, settle, until


def test_a_grafted_manager_is_still_what_it_was() -> None:
    mine = BusManager(Bus())
    server = Server(client_manager=mine)
    assert server.manager is mine
    assert isinstance(mine, (BusManager, RoomIndex))
    assert graft(mine) is mine


def test_messages_cross_in_order_and_byte_for_byte(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    sent = [
        f'2["#rtcio:message",{{ "source":"{a.sid}",\t"target":"{b.sid}","data":{number}.0}}]'
        for number in range(100)
    ]
    a.send(*sent)
    until(lambda: len(b.link.outbox or ()) == 100)
    assert b.packets() == sent
    assert here.stats()["relayed"] == 100
    assert there.stats()["relayed"] == 100


def test_attachments_cross(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    envelope = f'{{"source":"{a.sid}","target":"{b.sid}","data":{{"_placeholder":true,"num":0}}}}'
    a.send(f'51-7["#rtcio:message",{envelope}]', b"\x01\x02\xff")
    assert b.next() == f'51-["#rtcio:message",{envelope}]'
    assert b.next() == "bAQL/"


def test_nothing_that_is_no_sid_crosses(pair: tuple[Server, Server], bus: Bus) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    there.enter_room(b.sid, "tea")
    for target in ("tea", "rtcio:nobody", "nobody"):
        a.relay(target, 1)
    settle()
    assert b.heard("#rtcio:message") == []


def test_the_rules_are_applied_before_a_message_is_published(
    pair: tuple[Server, Server], bus: Bus
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.published.clear()
    a.emit("#rtcio:message", {"source": b.sid, "target": b.sid, "data": 1})
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid})
    settle()
    assert bus.published == []


def test_the_scope_of_a_room_holds_across_processes(bus: Bus) -> None:
    here, there = (Server(client_manager=bus.manager(), relay_scope="room") for _ in range(2))
    a, b = Polling(here).join(), Polling(there).join()
    a.relay(b.sid, "strangers")
    until(lambda: there.stats()["dropped"])
    for server, client in ((here, a), (there, b)):
        server.enter_room(client.sid, "tea")
    a.relay(b.sid, "friends")
    until(lambda: there.stats()["relayed"])
    assert [each["data"] for each in b.heard("#rtcio:message")] == ["friends"]
    assert there.stats()["dropped"] == {"other-room": 1}


def test_a_peer_of_another_process_hears_once_that_one_left(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    for room in ("tea", "coffee"):
        here.enter_room(a.sid, room)
        there.enter_room(b.sid, room)
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    settle()
    assert b.packets() == []


def test_a_room_entered_while_connecting_is_entered_here(bus: Bus) -> None:
    server = Server(client_manager=bus.manager())

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.enter_room(sid, "tea")

    client = Polling(server).join()
    assert set(server.rooms(client.sid)) == {client.sid, "tea"}


def test_a_socket_of_another_process_can_be_sent_away(pair: tuple[Server, Server]) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    reasons: list[str] = []
    there.on("disconnect", lambda sid, reason: reasons.append(reason))
    here.disconnect(b.sid)
    assert b.next() == "1"
    until(lambda: reasons)
    assert reasons == ["server disconnect"]
    assert "/" not in there.manager.rooms
    assert a.events() == []


@pytest.mark.parametrize("held_up_by", ["disconnect", "callback"])
def test_no_handler_holds_up_what_crosses(pair: tuple[Server, Server], held_up_by: str) -> None:
    here, there = pair
    a, b, c = Polling(here).join(), Polling(there).join(), Polling(there).join()
    started, release = Event(), Event()

    def block(*args: Any) -> None:
        started.set()
        release.wait()

    if held_up_by == "disconnect":
        there.on("disconnect", block)
        here.disconnect(c.sid)
    else:
        there.emit("question", to=a.sid, callback=block)
        number = a.next()[1:].partition("[")[0]
        a.send(f"3{number}[]")
    assert started.wait(DEADLINE)
    a.relay(b.sid, "meanwhile")
    assert b.next().endswith('"meanwhile"}]')
    release.set()


def test_a_client_of_another_process_can_be_asked(pair: tuple[Server, Server]) -> None:
    here, there = pair
    b = Polling(there).join()
    asking = gevent.spawn(here.call, "question", "why?", to=b.sid, timeout=DEADLINE)
    asked = b.next()
    number, _, arguments = asked[1:].partition("[")
    assert arguments == '"question","why?"]'
    b.send(f"3{number}[42]")
    assert asking.get(timeout=DEADLINE) == 42


@pytest.mark.parametrize("way", ["call", "callback"])
def test_a_process_that_has_had_no_client_is_answered(
    pair: tuple[Server, Server], way: str
) -> None:
    here, there = pair
    b = Polling(there).join()
    answers: list[Any] = []
    if way == "call":
        asking = gevent.spawn(here.call, "question", "why?", to=b.sid, timeout=DEADLINE)
        asking.link_value(lambda done: answers.append(done.value))
    else:
        here.emit("question", "why?", to=b.sid, callback=answers.append)
    number, _, _ = b.next()[1:].partition("[")
    b.send(f"3{number}[42]")
    until(lambda: answers)
    assert answers == [42]


def test_a_program_without_clients_can_emit(bus: Bus) -> None:
    server = Server(client_manager=bus.manager())
    client = Polling(server).join()
    bus.manager(write_only=True).emit("news", {"a": 1}, room=client.sid)
    assert client.next() == '2["news",{"a":1}]'


def test_a_plain_server_on_the_channel_hears_nothing_of_relays(bus: Bus) -> None:
    plain = PlainProcess(bus)
    server = Server(client_manager=bus.manager())
    a = Polling(server).join()
    a.relay(plain.sid, 1)
    server.emit("everybody", to=plain.sid)
    until(lambda: plain.heard)
    assert plain.heard == ['2["everybody"]']


def test_a_plain_server_with_the_listeners_shares_the_channel(bus: Bus) -> None:
    plain = PlainProcess(bus, add_default_listeners)
    server = Server(client_manager=bus.manager())
    a = Polling(server).join()
    a.relay(plain.sid, "there")
    until(lambda: plain.heard)
    assert plain.heard[0].endswith('"there"}]')
    envelope = f'{{"source":"{plain.sid}","target":"{a.sid}","data":"and back"}}'
    plain.says(f'2["#rtcio:message",{envelope}]')
    assert a.next() == f'2["#rtcio:message",{envelope}]'


def test_a_message_that_cannot_be_published_is_logged_and_the_next_one_goes(
    pair: tuple[Server, Server], bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.failures = 1
    a.relay(b.sid, "lost")
    a.relay(b.sid, "goes")
    assert b.next().endswith('"goes"}]')
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "the client manager could not publish"
    ]


def test_a_back_end_that_does_not_keep_up_loses_messages_and_not_memory(
    pair: tuple[Server, Server], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_UNPUBLISHED", 5)
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    settle()
    bus.stuck = Event()
    for number in range(8):
        a.relay(b.sid, number)
    assert here.stats()["dropped"] == {"publish-overflow": 3}
    stuck, bus.stuck = bus.stuck, None
    stuck.set()
    until(lambda: there.stats()["relayed"] == 5)
    assert [each["data"] for each in b.heard("#rtcio:message")] == [0, 1, 2, 3, 4]


def test_what_waits_for_a_back_end_is_bounded_in_bytes_too(
    pair: tuple[Server, Server], bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_UNPUBLISHED_BYTES", 100_000)
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    settle()
    bus.stuck = Event()
    for number in range(8):
        a.relay(b.sid, f"{number}" + "x" * 30_000)
    dropped = here.stats()["dropped"]["publish-overflow"]
    assert dropped == 5, "each has 30 kB and what an object costs"
    here.emit("news", {"words": ["y" * 5000] * 20}, to="elsewhere")
    assert here.stats()["dropped"]["publish-overflow"] == 6
    assert here.stats()["relayed"] == 0, "nothing is published yet"
    stuck, bus.stuck = bus.stuck, None
    stuck.set()
    until(lambda: here.stats()["relayed"] == 8 - dropped)
    assert here.manager._unpublished_bytes == 0


def test_what_was_never_published_counts_as_dropped_and_not_as_relayed(
    pair: tuple[Server, Server], bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()
    bus.failures = 20
    for number in range(25):
        a.relay(b.sid, number)
    until(lambda: len(b.link.outbox or ()) == 5)
    stats = here.stats()
    assert (stats["relayed"], stats["dropped"]) == (5, {"unpublished": 20})
    # Servers of earlier tests may end their clients meanwhile, and log what handlers raise then.
    said = [record for record in caplog.records if "could not publish" in record.getMessage()]
    assert len(said) == 1, "one line a minute, not one a message"


@pytest.mark.parametrize("again", [True, False])
def test_a_back_end_that_gives_up_without_an_exception_says_so_once(
    again: bool,
    pair: tuple[Server, Server],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = pair
    a, b = Polling(here).join(), Polling(there).join()

    def of_redis(self: Any, data: Any) -> None:
        # As python-socketio's `RedisManager` does it.
        logger = self._get_logger()
        logger.error("Cannot publish to redis... retrying", extra={"redis_exception": "refused"})
        if again:
            return
        logger.error("Cannot publish to redis... giving up", extra={"redis_exception": "refused"})

    monkeypatch.setattr(BusManager, "_publish", of_redis)
    for number in range(5):
        a.relay(b.sid, number)
    settle()
    stats = here.stats()
    assert stats["relayed"] == (5 if again else 0)
    assert stats["dropped"] == ({} if again else {"unpublished": 5})
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == ([] if again else ["the client manager could not publish: refused"])


class Worker(gunicorn.workers.base.Worker):  # type: ignore[misc]
    """The first of two workers of gunicorn, which loads an app; no more of it is started."""

    def __init__(self) -> None:
        self.cfg = gunicorn.config.Config()
        self.cfg.set("workers", 2)
        self.age = 1

    def load_wsgi(self, **options: Any) -> None:
        Server(**options)


def test_workers_with_a_client_manager_are_not_warned_that_they_are_apart(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    Worker().load_wsgi(client_manager=BusManager(bus))
    assert caplog.records == []
    Worker().load_wsgi(cluster=False)
    assert len(caplog.records) == 1
