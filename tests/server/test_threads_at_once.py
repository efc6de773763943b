"""``async_mode="threading"``: two threads that come to the same few lines at once.

Each test has the second thread come in the middle of what the first one does: where a gate keeps it
out, it waits for the first to be done.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from rtcio_sync import Server
from rtcio_sync.engineio.packet import Packet
from rtcio_sync.hub.thread import HubThread
from tests.clients import Client, Polling, still_held
from tests.timing import DEADLINE

MOMENT = 0.3  # seconds: that the second thread gets, if nothing keeps it out


class Second:
    """Another thread, that comes when it is called, once."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self._do = do
        self.thread: threading.Thread | None = None

    def comes(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._do, daemon=True)
            self.thread.start()
            self.thread.join(MOMENT)

    def ends(self) -> None:
        assert self.thread is not None, "it never came"
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(async_mode="threading", connection_state_recovery=True)
    yield made
    made.eio.close_all()
    made.eio.shutdown()


def joined(server: Server, *rooms: str) -> Client:
    client = Polling(server)
    client.join()
    for room in rooms:
        server.enter_room(client.sids["/"], room)
    return client


def test_the_end_of_a_socket_is_counted_and_handled_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    server.on("disconnect", lambda sid, reason: ended.append(reason))
    sid = joined(server).sids["/"]
    member = server.manager.member(sid, "/")
    reason = "client namespace disconnect"
    second = Second(lambda: server.lifecycle.disconnect(member, reason))
    before = server.manager.pre_disconnect

    def slowly(*args: Any) -> Any:
        second.comes()
        return before(*args)

    monkeypatch.setattr(server.manager, "pre_disconnect", slowly)
    server.lifecycle.disconnect(member, reason)
    second.ends()
    assert ended == ["client disconnect"]
    assert server.stats()["disconnects"] == 1


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


def test_a_session_that_ends_while_an_event_is_kept_keeps_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = joined(server).sids["/"]
    recovery = server.recovery
    assert recovery is not None
    second = Second(lambda: recovery.close(server.manager.member(sid, "/")))
    before = recovery.hold

    def slowly(*args: Any) -> None:
        second.comes()
        before(*args)

    monkeypatch.setattr(recovery, "hold", slowly)
    server.emit("news", 1, to=sid)
    second.ends()
    assert recovery.bytes == 0


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
    link._take()
    assert server.eio.backlog.holdings.cost == 0
    if how == "answered":
        link.counted, link.outbox = True, Outbox()
        link.answered(type("Answer", (), {"size": 1})())
        second.ends()
        assert link._take() == [late]
    else:
        link.outbox = Outbox([])
        link._drop_outbox()
        second.ends()
        link._drop_outbox()
    assert server.eio.backlog.holdings.cost == 0


def test_what_another_thread_spawns_as_the_server_begins_to_serve_runs() -> None:
    thread, ran = HubThread(), threading.Event()
    bound, asked = threading.Event(), threading.Event()

    class Waiting(list[Any]):
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
