"""Tests of rooms_app.py: handlers with clients in memory, and the whole app on a real server.

pytest examples/test_rooms_app.py
"""

import queue
import socket
import subprocess
import sys
from pathlib import Path

import gevent
import pytest
import requests
import socketio
from rooms_app import create_app

from rtcio_sync import RtcioError, RtcioEvents


@pytest.fixture
def app():
    return create_app()  # a new one for each test: no test sees the rooms of another


@pytest.fixture
def server(app):
    return app.extensions["rtcio"]


@pytest.fixture
def connect(app, server):
    """Makes clients that have logged in."""

    def connect(user, **options):
        browser = app.test_client()
        browser.post(f"/login/{user}")
        return server.test_client(flask_test_client=browser, **options)

    return connect


@pytest.fixture
def pair(connect):
    """Two clients in one room, who have heard of each other."""
    ada, bob = connect("ada"), connect("bob")
    for client in (ada, bob):
        assert client.call("join-room", {"roomId": "tea"}) == {"joined": "tea"}
        client.received()
    ada.received()
    return ada, bob


def until(found):
    """Lets the greenlets of the server run until `found()` gives something, and returns that."""
    with gevent.Timeout(30):
        while not (value := found()):
            gevent.sleep(0.01)
    return value


# -- connecting, and acknowledgements


def test_nobody_connects_without_a_login(server):
    client = server.test_client()
    assert not client.connected
    assert client.error == {"message": "log in first"}


@pytest.mark.parametrize("data", [None, [], {}, {"roomId": 5}, {"roomId": ""}])
def test_a_room_without_a_name_is_refused(connect, data):
    assert connect("ada").call("join-room", data) == {"error": "roomId has to be a text"}


def test_a_handler_that_answers_nothing_still_acknowledges(pair):
    ada, _ = pair
    assert ada.call("say", {"roomId": "tea", "text": "hello"}) is None


def test_an_event_without_a_handler_is_not_acknowledged(connect):
    with pytest.raises(RtcioError, match="nobody acknowledged"):
        connect("ada").call("misspelt")


# -- rooms


def test_a_newcomer_is_announced_to_the_room_alone(connect):
    ada, bob, elsewhere = connect("ada"), connect("bob"), connect("eve")
    elsewhere.emit("join-room", {"roomId": "coffee"})
    ada.emit("join-room", {"roomId": "tea"})
    bob.emit("join-room", {"roomId": "tea"})
    assert ada.received() == [
        ("user-connected", [{"id": bob.sid, "name": "bob"}]),
        (RtcioEvents.INIT_OFFER, [{"source": bob.sid}, {"polite": True}]),
    ]
    assert bob.received() == elsewhere.received() == []


def test_a_view_reaches_the_clients_of_a_room(app, pair):
    ada, bob = pair
    browser = app.test_client()
    browser.post("/login/eve")
    browser.post("/rooms/tea/announcement")
    assert ada.received("announcement") == bob.received("announcement") == [{"by": "eve"}]


def test_an_offer_reaches_one_peer(pair):
    ada, bob = pair
    envelope = {"source": ada.sid, "target": bob.sid, "data": {"description": {"type": "offer"}}}
    ada.emit(RtcioEvents.MESSAGE, envelope)
    assert bob.received(RtcioEvents.MESSAGE) == [envelope]


# -- what the server asks of clients


def test_the_room_answers_a_roll_call(pair, connect):
    ada, bob = pair
    eve = connect("eve")
    eve.emit("join-room", {"roomId": "tea"})
    ada.emit("roll-call", "tea")
    bob.acknowledge("are-you-there", "bob")
    assert ada.received("present") == []  # one answer is missing
    eve.acknowledge("are-you-there", "eve")
    assert until(lambda: ada.received("present")) == [["bob", "eve"]]


# -- errors


def test_an_exception_of_a_handler_reaches_the_test():
    def broken(text):
        raise RuntimeError("the filter is broken")

    app = create_app(clean=broken)
    browser = app.test_client()
    browser.post("/login/ada")
    server = app.extensions["rtcio"]
    ada = server.test_client(flask_test_client=browser)
    with pytest.raises(RuntimeError, match="the filter is broken"):
        ada.emit("say", {"roomId": "tea", "text": "hello"})
    assert ada.connected  # as a real client, which gets no acknowledgement
    assert server.stats()["handler_errors"] == 1


# -- losses and returns


def test_a_peer_that_leaves_is_noticed(pair):
    ada, bob = pair
    gone = bob.sid
    bob.disconnect()
    assert ada.received(RtcioEvents.PEER_LEFT) == [{"id": gone}]


def test_a_peer_that_comes_back_gets_what_it_missed(pair, server):
    ada, bob = pair
    sid = bob.sid
    bob.disconnect()  # loses its connection
    ada.emit("say", {"roomId": "tea", "text": " are you there? "})
    bob.connect()
    assert bob.recovered and bob.sid == sid
    assert bob.received("said") == ["are you there?"]
    assert server.of("/").rooms["tea"] == {ada.sid, bob.sid}


def test_a_peer_that_was_removed_comes_back_as_a_stranger(pair, server):
    _, bob = pair
    sid = bob.sid
    server.disconnect(sid)
    bob.connect()
    assert not bob.recovered and bob.sid != sid


# -- the whole app, on a real server


@pytest.fixture(scope="module")
def url():
    """The app under gunicorn. Clients may connect at once: they wait until it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        gunicorn = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", f"fd://{descriptor}"]
        with subprocess.Popen(
            [*gunicorn, "rooms_app:create_app()"],
            pass_fds=[descriptor],
            cwd=Path(__file__).parent,
        ) as process:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            process.terminate()
            assert process.wait(30) == 0


@pytest.fixture
def connect_to(url):
    """Makes real clients that have logged in, and ends them."""
    clients, browsers = [], []

    def connect_to(user, transport):
        browser = requests.Session()
        browser.post(f"{url}/login/{user}", timeout=60).raise_for_status()
        client = socketio.Client(http_session=browser)
        client.connect(url, transports=[transport])
        clients.append(client)
        browsers.append(browser)
        return client

    yield connect_to
    for client in clients:
        client.disconnect()
    for browser in browsers:
        browser.close()  # gunicorn's stop waits for open connections


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_two_real_clients_meet(connect_to, transport):
    ada, bob = connect_to("ada", transport), connect_to("bob", transport)
    heard = queue.Queue()
    # `*_` takes what the server adds for a return to the session.
    ada.on("user-connected", lambda card, *_: heard.put(card))
    for client in (ada, bob):
        assert client.call("join-room", {"roomId": transport}, timeout=30) == {"joined": transport}
    # Wait for an event with a generous deadline, never for a time.
    assert heard.get(timeout=30) == {"id": bob.get_sid(), "name": "bob"}
