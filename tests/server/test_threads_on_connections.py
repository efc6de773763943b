"""``async_mode="threading"``: two threads that come to the same few lines at once.

Here: one connection, its transports and its end.
"""

from __future__ import annotations

import io
import math
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import gevent
import pytest
from engineio import packet
from engineio.exceptions import EngineIOError

from rtcio_sync import Limits, Server
from rtcio_sync.engineio.packet import Packet
from rtcio_sync.errors import Refused
from rtcio_sync.hub.thread import HubThread
from tests.clients import Polling
from tests.threads import MOMENT, Second, Wire, comes_on_a_wire, joined, slowed
from tests.timing import DEADLINE, wait_until
from tests.wsgi import environ_of, request


def test_a_connection_that_two_threads_close_at_once_ends_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, lost = joined(server).link, []
    monkeypatch.setattr(server.eio, "lost", lambda link, reason: lost.append(reason))
    second = Second(lambda: link.fail("flood", "transport error", 1008))
    slowed(link, "state", second)
    link.fail("packet", "parse error", 1002)
    second.ends()
    assert len(lost) == 1
    assert sum(server.stats()["closed"].values()) == 1


@pytest.mark.parametrize("step", ["2probe", "5"])
def test_a_connection_that_is_closed_during_its_upgrade_stays_closed(
    server: Server, step: str
) -> None:
    link, wire = joined(server).link, Wire()
    link.websocket = wire
    if step == "5":
        link._probe(b"2probe")
    second = Second(lambda: link.close(abort=True, reason="transport close"))
    slowed(link, "state" if step == "2probe" else "outbox", second)
    link._probe(step.encode())
    second.ends()
    assert link.closed
    assert wire.closed
    assert link.transport is None


def test_an_upgrade_that_ends_as_its_time_is_over_ends_in_one_way(server: Server) -> None:
    link, wire = joined(server).link, Wire()
    link.websocket = wire
    link._probe(b"2probe")
    second = Second(lambda: link.message_received(b"5", False))
    slowed(link, "state", second)
    link._give_up(wire)
    second.ends()
    switched = link.transport is wire
    assert link.upgraded == switched
    assert (wire.closed, wire.owned) == (not switched, switched)


@pytest.mark.parametrize("how", ["one", "several", "frames", "apart", "an event"])
def test_what_is_sent_as_a_websocket_is_closed_raises_nothing(server: Server, how: str) -> None:
    client, _ = comes_on_a_wire(server)
    client.ask_to_join()
    wait_until(lambda: client.member is not None and client.member.ready)
    link, pkt = client.link, Packet(4, "late")
    second = Second(lambda: link.close(abort=True, reason="transport close"))
    send = {
        "one": lambda: link.send(pkt),
        "several": lambda: link.send_together([pkt, pkt]),
        "frames": lambda: link.send_frames([pkt.frame()]),
        "apart": lambda: link.send_apart(pkt),
        "an event": lambda: server.manager.hand_over(client.member, [pkt]),
    }[how]
    slowed(link, "transport", second)
    send()
    second.ends()


def test_a_pong_may_come_while_another_request_asks_whether_it_is_late(server: Server) -> None:
    link = joined(server).link
    link.pinged_at = server.eio.heartbeat.now()
    second = Second(lambda: link.receive(b"3", False))
    slowed(link, "pinged_at", second)
    assert not server.eio.heartbeat.overdue(link)
    second.ends()


def test_a_last_word_waits_for_the_next_poll_if_the_open_one_has_its_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = joined(server)
    link = client.link
    second = Second(link.close)
    before = link.take

    def slowly(most: int | None) -> Any:
        taken = before(most)
        second.comes()
        return taken

    monkeypatch.setattr(link, "_wait", lambda state, seconds: link.send(Packet(4, "news")))
    monkeypatch.setattr(link, "take", slowly)
    assert client.poll() == (200, ["4news"])
    second.ends()
    assert client.poll() == (200, ["1"])


def test_a_poll_that_comes_as_its_session_is_closed_gets_the_last_word(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, got = joined(server).link, []
    second = Second(lambda: got.extend(link.poll()))
    before = link._last_word

    def slowly(farewell: int | None) -> None:
        second.comes()
        before(farewell)

    monkeypatch.setattr(link, "_last_word", slowly)
    link.close()
    second.ends()
    assert [each.packet_type for each in got] == [1]


def test_of_two_polls_at_once_one_is_refused_and_the_other_told_of_the_end(
    server: Server,
) -> None:
    client = Polling(server)
    client.join()
    link = client.link
    answers: list[Any] = []

    def poll() -> None:
        try:
            answers.append([each.packet_type for each in link.poll()])
        except EngineIOError:
            answers.append("refused")

    second = Second(poll)
    slowed(link, "polling", second)
    first = threading.Thread(target=poll, daemon=True)
    first.start()
    wait_until(lambda: second.thread is not None and second.thread.ident is not None)
    second.ends()
    first.join(DEADLINE)
    assert sorted(answers, key=str) == [[packet.CLOSE], "refused"]


def test_of_two_posts_at_once_one_is_refused(server: Server) -> None:
    client = Polling(server)
    client.join()
    link, body = client.link, b'42["late"]'
    answers: list[str] = []

    class Slow(io.BytesIO):
        """The body of a request, which is not there before the other request has its answer."""

        def read(self, *size: Any) -> bytes:
            with suppress(AssertionError):
                wait_until(lambda: answers, MOMENT * 3)
            return super().read(*size)

    def post() -> None:
        environ = environ_of("POST", {"transport": "polling"}, body=body)
        try:
            link.post({**environ, "wsgi.input": Slow(body)})
            answers.append("ok")
        except Refused:
            answers.append("refused")

    second = Second(post)
    slowed(link, "posting", second)
    post()
    second.ends()
    assert answers[0] == "refused"
    assert link.closed


def test_a_websocket_is_read_again_if_its_inbox_is_emptied_as_reading_pauses(
    server: Server,
) -> None:
    link, wire = joined(server).link, Wire()
    link.websocket = link.transport = wire
    link.full_until = math.inf

    def emptied() -> None:
        with server.eio.gate:
            link.full_until = server.eio.heartbeat.now()
        link._go_on()

    second = Second(emptied)
    slowed(link, "full_until", second)
    link._slow_down()
    second.ends()
    assert wire.reads


def test_the_connections_of_an_address_are_counted_right() -> None:
    server = Server(async_mode="threading", limits=Limits(sockets_per_ip=9))
    one = Polling(server)
    second = Second(one.link.close)

    class Open(dict[str, int]):
        looks = 0

        def get(self, *args: Any) -> Any:
            value = super().get(*args)
            self.looks += 1
            if self.looks == 2:  # it is allowed, and about to be counted
                second.comes()
            return value

    counted = server.eio.addresses._open = Open(server.eio.addresses._open)
    other = Polling(server)
    second.ends()
    assert list(counted.values()) == [1]
    other.link.close()
    assert not counted
    server.eio.shutdown()


@pytest.mark.parametrize("how", ["answered", "closed"])
def test_what_is_sent_while_an_answer_ends_is_accounted_for(server: Server, how: str) -> None:
    link: Any = joined(server).link
    late = Packet(4, "x" * 20_000)
    second = Second(lambda: link.send_together([late]))

    class Outbox(deque[Any]):
        def __len__(self) -> int:
            size = super().__len__()
            second.comes()
            return size

        def __bool__(self) -> bool:  # Python 3.10 does not ask for the length
            return len(self) > 0

    link.send_together([Packet(4, "x" * 20_000)])
    link.take()
    assert server.eio.backlog.holdings.cost == 0
    if how == "answered":
        link.counted, link.outbox = True, Outbox()
        link.answered(type("Answer", (), {"size": 1})())
        second.ends()
        assert link.take() == [late]
    else:
        link.outbox = Outbox([])
        link._drop_outbox()
        second.ends()
        link._drop_outbox()
    assert server.eio.backlog.holdings.cost == 0


def test_a_task_that_is_started_before_the_server_turns_out_to_run_on_threads_runs_once() -> None:
    """Then the hub of the thread that made the server may never run, as this one does not."""
    server, ran = Server(), []
    server.start_background_task(ran.append, "background")
    server.eio.spawn(ran.append, "spawned")
    other = threading.Thread(target=server.start_background_task, args=(ran.append, "elsewhere"))
    other.start()
    other.join(DEADLINE)
    environ = {**environ_of("GET", {}), "SERVER_SOFTWARE": "waitress", "wsgi.multithread": True}
    worker = threading.Thread(target=request, args=(server.handle_request, environ))
    worker.start()
    worker.join(DEADLINE)
    assert server.eio.async_mode == "threading"
    wait_until(lambda: len(ran) == 3)
    gevent.sleep(0.01)  # and now the hub does run
    assert sorted(ran) == ["background", "elsewhere", "spawned"]
    server.shutdown()


def test_what_another_thread_spawns_as_the_server_begins_to_serve_runs() -> None:
    thread, ran = HubThread(), threading.Event()
    bound, asked = threading.Event(), threading.Event()

    class Waiting(deque[Any]):
        def append(self, item: Any) -> None:
            asked.set()
            assert bound.wait(DEADLINE)
            super().append(item)

    thread._waiting = Waiting()
    other = threading.Thread(target=thread.spawn, args=(ran.set,), daemon=True)
    other.start()
    assert asked.wait(DEADLINE)
    thread.bind()
    bound.set()
    other.join(DEADLINE)
    with gevent.Timeout(DEADLINE):
        while not ran.is_set():
            gevent.sleep(0.001)


def test_a_probe_that_ends_while_the_clock_gives_it_up_ends_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, wire = joined(server).link, Wire()
    link.open_websocket(wire)
    rested: list[Any] = []
    monkeypatch.setattr(server.eio, "rests", rested.append)
    second = Second(lambda: link.connection_lost(None, True))
    slowed(link, "websocket_held", second)
    link._give_up(wire)
    second.ends()
    assert rested == [link]
    assert not link.closed
