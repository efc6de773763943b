"""Polling sessions that go on in another process while requests are under way."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync import Server
from rtcio_sync.errors import CannotMove
from tests.clients import Polling, WebSocket
from tests.moving import move, pack, servers
from tests.timing import DEADLINE, settle, until
from tests.wsgi import environ_of, request


def apps(log: list[Any]) -> list[Server]:
    made = servers()
    for number, server in enumerate(made):
        server.on("say")(lambda sid, what, n=number: log.append((n, what)))
    return made


def test_an_open_poll_is_answered_so_that_the_client_polls_the_other_process() -> None:
    old, new = servers()
    client = Polling(old).join()
    poll = gevent.spawn(client.poll)
    until(lambda: client.link.polling)
    move(client, new)
    assert poll.get(timeout=DEADLINE) == (200, ["6"])
    new.emit("news", to=client.sid)
    assert client.poll() == (200, ['42["news"]'])


def test_a_post_that_comes_while_the_session_is_frozen_goes_along_in_order() -> None:
    log: list[Any] = []
    old, new = apps(log)
    client = Polling(old).join()
    link = client.link
    client.emit("say", "before")
    until(lambda: not old.departing.busy(client.eio_sid))
    old.departing.freeze(client.eio_sid)
    post = gevent.spawn(client.post, '42["say","first"]', '42["say","second"]')
    until(lambda: link.parked)
    assert not old.departing.busy(client.eio_sid)
    packed = old.departing.pack(client.eio_sid)
    assert post.get(timeout=DEADLINE) == 200
    new.departing.adopt(packed.state)
    client.app, client.server, client.engine = new.handle_request, new, new.eio
    late = gevent.spawn(client.post, '42["say","third"]')  # it is frozen until it is attached
    settle()
    assert log == [(0, "before")]
    new.departing.attach(client.eio_sid, -1)
    assert late.get(timeout=DEADLINE) == 200
    until(lambda: len(log) == 4)
    assert log == [(0, "before"), (1, "first"), (1, "second"), (1, "third")]


def test_a_post_that_comes_while_the_session_is_frozen_goes_on_after_it_is_thawed() -> None:
    log: list[Any] = []
    old, _ = apps(log)
    client = Polling(old).join()
    until(lambda: not old.departing.busy(client.eio_sid))
    old.departing.freeze(client.eio_sid)
    post = gevent.spawn(client.post, '42["say","later"]')
    until(lambda: client.link.parked)
    old.departing.thaw(client.eio_sid)
    assert post.get(timeout=DEADLINE) == 200
    until(lambda: log == [(0, "later")])


class SlowBody:
    """A body that comes when ``rest`` is set."""

    def __init__(self, body: bytes) -> None:
        self.rest = Event()
        self._body = body

    def read(self, size: int = -1) -> bytes:
        self.rest.wait()
        body, self._body = self._body, b""
        return body


def test_a_post_whose_body_has_not_come_makes_a_session_busy() -> None:
    log: list[Any] = []
    old, new = apps(log)
    client = Polling(old).join()
    until(lambda: not old.departing.busy(client.eio_sid))
    body = b'42["say","slow"]'
    environ = environ_of("POST", {"sid": client.eio_sid}, path=client.path)
    slow = SlowBody(body)
    environ.update({"wsgi.input": slow, "CONTENT_LENGTH": str(len(body))})
    post = gevent.spawn(request, old.handle_request, environ)
    until(lambda: client.link.posting)
    assert old.departing.busy(client.eio_sid)
    slow.rest.set()
    assert post.get(timeout=DEADLINE)[0] == 200
    move(client, new)
    assert log == [(0, "slow")]


def test_a_session_that_upgrades_moves_when_it_has_upgraded() -> None:
    old, new = servers()
    client = Polling(old).join()
    websocket = WebSocket(old, upgrading=client)
    websocket.say("2probe")
    assert websocket.more() == ["3probe"]
    assert old.departing.busy(client.eio_sid)
    moving = gevent.spawn(move, websocket, new)
    settle()
    assert not moving.dead
    websocket.say("5")
    moving.get(timeout=DEADLINE)
    new.emit("news", to=client.sid)
    assert websocket.more() == ['42["news"]']


def test_a_session_that_moved_on_polling_upgrades_in_the_other_process() -> None:
    old, new = servers()
    client = move(Polling(old).join(), new)
    assert isinstance(client, Polling)
    new.emit("one", to=client.sid)
    websocket = WebSocket(new, upgrading=client)
    websocket.say("2probe")
    assert websocket.more() == ["3probe"]
    websocket.say("5")
    assert websocket.more() == ['42["one"]']


def test_a_probe_that_comes_while_the_session_is_frozen_makes_it_busy() -> None:
    old, new = servers()
    client = Polling(old).join()
    until(lambda: not old.departing.busy(client.eio_sid))
    old.departing.freeze(client.eio_sid)
    websocket = WebSocket(old, upgrading=client)
    websocket.say("2probe")
    with pytest.raises(CannotMove) as refused:
        old.departing.pack(client.eio_sid)
    assert refused.value.later
    old.departing.thaw(client.eio_sid)
    assert websocket.more() == ["3probe"]
    websocket.say("5")
    move(websocket, new)


def test_what_waits_for_the_next_poll_goes_along_binary_messages_too() -> None:
    old, new = servers()
    client = Polling(old).join()
    old.emit("text", "ä€", to=client.sid)
    old.emit("bytes", b"\0\1", to=client.sid)
    packed = pack(old, client.eio_sid)
    assert old.stats()["send_buffer_bytes"] == 0
    new.departing.adopt(packed.state)
    new.departing.attach(client.eio_sid, -1)
    client.app = new.handle_request
    placeholder = '{"_placeholder":true,"num":0}'
    assert client.poll()[1] == ['42["text","ä€"]', f'451-["bytes",{placeholder}]', "bAAE="]
