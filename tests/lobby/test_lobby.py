"""What a `Lobby` is made with: ICE servers, and what it refuses."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from rtcio_sync.cluster.exchange import Exchange
from rtcio_sync.errors import OptionError
from rtcio_sync.lobby import lobby
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import client, join, joined, refused

# -- ask-ice ---------------------------------------------------------------------------------------


SERVERS = [{"urls": ["stun:stun.example.com"]}]


def test_ask_ice_is_answered_with_an_empty_list_by_default(server: Server) -> None:
    Lobby(server)
    assert client(server).call("ask-ice") == {"iceServers": []}


def test_ask_ice_is_answered_with_the_servers_given(server: Server) -> None:
    Lobby(server, ice_servers=SERVERS)
    assert client(server).call("ask-ice", {"surplus": True}) == {"iceServers": SERVERS}


def test_ask_ice_may_be_answered_anew_for_each_client(server: Server) -> None:
    Lobby(server, ice_servers=lambda socket: [{"urls": [f"stun:{socket.id}"]}])
    peer = client(server)
    assert peer.call("ask-ice") == {"iceServers": [{"urls": [f"stun:{peer.sid}"]}]}


def test_ask_ice_may_be_answered_by_a_subclass(server: Server) -> None:
    class Own(Lobby):
        def ice_servers(self, socket: Any) -> Any:
            return SERVERS

    Own(server)
    assert client(server).call("ask-ice") == {"iceServers": SERVERS}


# -- misuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_peers", [0, -1, True, 1.5, "8"])
def test_a_cap_that_seats_nobody_is_refused(server: Server, max_peers: Any) -> None:
    with pytest.raises(OptionError, match="at least 1, or None"):
        Lobby(server, max_peers=max_peers)
    kind = type("Pairs", (Lobby,), {"max_peers": max_peers})
    with pytest.raises(OptionError, match="at least 1, or None"):
        kind(server)
    lobby = Lobby(server, max_peers=2)  # none has taken the namespace
    with pytest.raises(OptionError, match="at least 1, or None"):
        lobby.max_peers = max_peers
    assert lobby.max_peers == 2


#: What is called with: the function's name, and a function that takes other arguments.
ARITIES: list[tuple[str, Any]] = [
    ("authorize", lambda socket, room: True),
    ("authorize", lambda socket, room, name, password, extra: True),
    ("authorize", lambda socket, room, name, password, *, extra: True),
    ("authorize", lambda socket, *, room: True),
    ("authorize", functools.partial(lambda socket, room, name, password: True, password="")),
    ("ice_servers", lambda: [{}]),
    ("ice_servers", lambda socket, room: []),
]


@pytest.mark.parametrize(("name", "function"), ARITIES)
def test_a_function_that_takes_other_arguments_is_refused(
    server: Server, name: str, function: Any
) -> None:
    """Nobody could join, and each client would cause an error in the log."""
    with pytest.raises(OptionError, match=rf"^{name} is called with \(socket"):
        Lobby(server, **{name: function})
    method = staticmethod(function)  # as one without ``self`` of a subclass
    with pytest.raises(OptionError, match=rf"^{name} is called with \(socket"):
        type("Own", (Lobby,), {name: method})(server)
    Lobby(server)  # none has taken the namespace


@pytest.mark.parametrize("name", ["authorize", "ice_servers"])
def test_a_function_may_take_any_arguments(server: Server, name: str) -> None:
    Lobby(server, **{name: lambda *asked, **more: []})
    Lobby(server, namespace="/own", **{name: lambda socket, room="", *rest: []})


def test_a_socket_or_a_function_in_the_place_of_a_sid_cannot_be_removed(server: Server) -> None:
    lobby = Lobby(server)
    peer = joined(server)
    for wrong in (server.sockets[str(peer.sid)], lobby.peers):
        with pytest.raises(OptionError, match=r"a sid is a string, not \w+"):
            lobby.remove(wrong, "r")  # type: ignore[arg-type]
    assert lobby.peers("r") == [peer.sid]


@pytest.mark.parametrize("odd", [None, 3, b"sid", ["sid"], {}])
def test_what_is_no_sid_is_in_no_room(server: Server, odd: Any) -> None:
    lobby = Lobby(server)
    peer = joined(server)
    assert lobby.remove(odd, "r") is False
    assert lobby.peers("r") == [peer.sid]


def test_any_kind_of_text_names_a_room_and_a_socket(server: Server) -> None:
    class Text(str):
        __slots__ = ()

    lobby = Lobby(server)
    peer = joined(server)
    assert lobby.peers(Text("r")) == [peer.sid]
    assert lobby.remove(Text(peer.sid), Text("r"))
    assert lobby.peers("r") == []


def test_a_cap_may_be_known_only_later(server: Server) -> None:
    class Booked(Lobby):
        @property
        def max_peers(self) -> int:  # type: ignore[override]
            return len(self.booked)

    lobby = Booked(server)
    lobby.booked = ["a seat"]  # type: ignore[attr-defined]
    first, late = joined(server), client(server)
    join(late)
    assert late.received() == refused("room-full")
    assert lobby.peers("r") == [first.sid]


def test_a_lobby_wants_the_server_and_an_authorize_that_can_be_called(server: Server) -> None:
    with pytest.raises(OptionError, match="not the app"):
        Lobby(object())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="authorize must be a callable"):
        Lobby(server, authorize=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["authorize", "ice_servers"])
@pytest.mark.parametrize("value", [None, True, [{"urls": "stun:one"}]])
def test_an_attribute_of_a_subclass_in_the_place_of_a_function_is_refused(
    server: Server, name: str, value: Any
) -> None:
    """Each peer would have been refused, with an error of the library in the log."""
    with pytest.raises(OptionError, match=f"^{name} = .* is no function: write it as a method"):
        type("Own", (Lobby,), {name: value})(server)
    Lobby(server)  # none has taken the namespace


def test_a_namespace_has_one_lobby() -> None:
    server = Server()
    Lobby(server)
    with pytest.raises(OptionError, match="already has a Lobby"):
        Lobby(server)
    Lobby(server, namespace="/calls")
    Lobby(Server())


def test_a_lobby_that_is_made_while_the_server_runs_is_warned_of_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lobby, "_late", False)
    Lobby(server)
    assert not caplog.records
    monkeypatch.setattr(Exchange, "begun", True)  # as after the start of a worker of gunicorn's
    for name in ("/a", "/b"):
        Lobby(server, namespace=name)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the Lobby of /a was made while the server runs" in record.getMessage()
    assert "make each Lobby while the app is loaded" in record.getMessage()
