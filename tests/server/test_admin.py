"""The Socket.IO Admin UI: `Server.instrument`, spoken to as the UI speaks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync import Limits, Namespace, Server
from rtcio_sync.errors import OptionError
from tests.clients import Polling
from tests.reconnecting import Phone, in_room, new_server
from tests.timing import until
from tests.unrun import UNRUN, coroutine, generator

LOGIN = {"username": "ada", "password": "secret"}


def seen(admin: Polling, names: set[str]) -> dict[str, Any]:
    """The first arguments of the events ``names``, once all have come."""
    found: dict[str, Any] = {}

    def all_there() -> bool:
        for name, *arguments in admin.events("/admin"):
            found[name] = arguments
        return names <= set(found)

    until(all_there)
    return found


def test_the_admin_ui_sees_our_sockets_and_relays_go_on() -> None:
    server = Server(cors_allowed_origins="*")
    admin_side = server.instrument(auth=LOGIN, server_stats_interval=0.05)
    try:
        a, b = Polling(server).join(), Polling(server).join()
        server.enter_room(a.sid, "tea")
        admin = Polling(server)
        admin.join("/admin", LOGIN)
        found = seen(admin, {"config", "all_sockets", "server_stats"})
        sids = {each["id"] for each in found["all_sockets"][0]}
        assert {a.sid, b.sid} <= sids
        assert "supportedFeatures" in found["config"][0]
        a.relay(b.sid, {"n": 1})
        until(lambda: b.heard("#rtcio:message"))
        assert server.stats()["relayed"] == 1
    finally:
        admin_side.shutdown()


def test_the_admin_uis_namespace_needs_no_slash() -> None:
    server = Server()
    admin_side = server.instrument(auth=False, namespace="admin", server_stats_interval=0.05)
    try:
        Polling(server).join()
        admin = Polling(server).join("/admin")
        found = seen(admin, {"config", "all_sockets", "server_stats"})
        assert found["server_stats"][0]["clientsCount"] == 2
    finally:
        admin_side.shutdown()


def test_the_admin_ui_knows_the_namespaces_of_both_idioms_and_later_ones() -> None:
    server = Server()
    server.on("said", print, namespace="/handlers")
    server.on("said", print, namespace="*")
    server.register_namespace(Namespace("/class"))
    server.of(re.compile("^/shop-"))
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        client, admin = Polling(server).join(), Polling(server).join("/admin")
        seen(admin, {"server_stats"})
        server.of("/later")
        client.join("/shop-1")
        counts = {"/": 1, "/admin": 1, "/handlers": 0, "/class": 0, "/later": 0, "/shop-1": 1}

        def told() -> bool:
            (stats,) = seen(admin, {"server_stats"})["server_stats"]
            assert stats["pid"] == os.getpid()
            assert stats["serverId"].endswith(f"#{os.getpid()}"), "workers are told apart"
            return {each["name"]: each["socketsCount"] for each in stats["namespaces"]} == counts

        until(told)
    finally:
        admin_side.shutdown()


def test_a_function_may_say_who_gets_the_admin_ui() -> None:
    server = Server()
    admin_side = server.instrument(lambda login: login == LOGIN, server_stats_interval=0.05)
    try:
        assert Polling(server).join("/admin", LOGIN)
        stranger = Polling(server)
        stranger.ask_to_join("/admin", {"username": "ada"})
        assert "authentication failed" in stranger.next()
    finally:
        admin_side.shutdown()


@pytest.mark.parametrize("unrun", UNRUN.values(), ids=UNRUN)
def test_a_function_that_has_yet_to_run_lets_nobody_see_the_admin_ui(unrun: Any) -> None:
    server = Server()
    admin_side = server.instrument(auth=unrun, server_stats_interval=0.05)
    try:
        stranger = Polling(server)
        stranger.ask_to_join("/admin", LOGIN)
        assert stranger.next().startswith("4/admin,")
        assert server.stats()["handler_errors"] == 1
    finally:
        admin_side.shutdown()


@pytest.mark.parametrize("fn", [coroutine, generator])
def test_functions_that_do_not_run_are_refused_for_the_admin_ui(fn: Any) -> None:
    with pytest.raises(TypeError):
        Server().instrument(auth=fn)


def test_who_has_no_login_gets_no_admin_ui() -> None:
    server = Server()
    admin_side = server.instrument(auth=LOGIN, server_stats_interval=0.05)
    try:
        stranger = Polling(server)
        stranger.ask_to_join("/admin", {"username": "ada", "password": "guess"})
        assert "authentication failed" in stranger.next()
    finally:
        admin_side.shutdown()


def test_who_comes_back_to_its_session_is_seen_and_its_end_is_handled() -> None:
    server = new_server()
    ends: list[str] = []
    server.on("disconnect", lambda sid, reason: ends.append(reason))
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        phone = in_room(server)
        sid, admin = phone.sid, Phone(server, namespace="/admin")
        wait_for(admin, "all_sockets", lambda sockets: sid in {each["id"] for each in sockets})
        for number in (1, 2):
            phone.lose()
            assert len(ends) == number
            wait_for(admin, "socket_disconnected", lambda namespace, gone, *_: gone == sid)
            late = Phone(server, namespace="/admin")
            wait_for(late, "all_sockets", lambda sockets: sid in {each["id"] for each in sockets})
            phone = phone.come_back()
            wait_for(admin, "socket_connected", lambda socket, *_: socket["id"] == sid)
        phone.lose()
        assert len(ends) == 3
        wait_for(admin, "socket_disconnected", lambda namespace, gone, *_: gone == sid)
        server.disconnect(sid)
        wait_for(admin, "socket_disconnected", lambda namespace, gone, *_: gone == sid)
        assert server.stats()["handler_errors"] == 0
    finally:
        admin_side.shutdown()


def wait_for(admin: Phone, name: str, fits: Callable[..., bool]) -> None:
    """Waits until an admin has got an event whose arguments fit, since it was last asked."""
    until(lambda: any(event == name and fits(*args) for event, args in admin.received()))


def test_the_end_of_who_was_there_before_is_handled() -> None:
    server = Server()
    ends: list[str] = []
    server.on("disconnect", lambda sid, reason: ends.append(reason))
    client = Polling(server).join()
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        client.close()
        until(lambda: ends)
        assert server.stats()["handler_errors"] == 0
    finally:
        admin_side.shutdown()


def test_who_is_refused_is_no_connected_socket_for_the_admin_ui() -> None:
    server = Server()
    server.on("connect", lambda sid, environ: False)
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        admin = Polling(server).join("/admin")
        stranger = Polling(server)
        stranger.ask_to_join()
        assert stranger.next().startswith("4")
        found = seen(admin, {"socket_connected", "socket_disconnected"})
        assert found["socket_disconnected"][1] == found["socket_connected"][0]["id"]
        assert set(server.manager._timestamps) == {admin.sids["/admin"]}
    finally:
        admin_side.shutdown()


class Word:
    """Names a room in one process, and JSON has no such value."""


def test_what_cannot_be_reported_happens_all_the_same() -> None:
    server = Server()
    heard: list[str] = []
    server.on("said", lambda sid, word: heard.append(word))
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        Polling(server).join("/admin")
        client, room = Polling(server).join(), Word()
        server.enter_room(client.sid, room)
        assert set(server.rooms(client.sid)) == {client.sid, room}
        server.leave_room(client.sid, room)
        assert server.rooms(client.sid) == [client.sid]
        client.send('2["said","\\ud800"]')
        until(lambda: heard)
        assert heard == ["\ud800"]
        assert server.stats()["handler_errors"] == 0
    finally:
        admin_side.shutdown()


@pytest.mark.parametrize(
    "command",
    [
        ["emit"],
        ["emit", "/", None, "connect"],
        ["emit", 5, 5, 5],
        ["emit", "/", {}, "x"],
        ["join", "/", None],
        ["join", "/", "tea", {"x": 1}],
        ["leave", "/", {}],
        ["_disconnect", {}, False, None],
        ["_disconnect", "*", False, None],
    ],
    ids=str,
)
def test_an_invalid_command_of_an_admin_is_a_drop_and_no_error(command: list[Any]) -> None:
    server = Server()
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        client, admin = Polling(server).join(), Polling(server).join("/admin")
        admin.emit(*command, namespace="/admin")
        until(lambda: server.stats()["dropped"])
        assert server.stats()["dropped"] == {"malformed": 1}
        assert server.stats()["handler_errors"] == 0
        assert client.packets() == []
    finally:
        admin_side.shutdown()


def test_the_commands_of_an_admin_are_done() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))
    admin_side = server.instrument(auth=False, server_stats_interval=0.05)
    try:
        a, b, full = Polling(server).join(), Polling(server).join(), Polling(server).join()
        server.enter_room(full.sid, "coffee")
        admin = Polling(server).join("/admin")
        admin.emit("join", "/", "tea", namespace="/admin")
        admin.emit("emit", "/", "tea", "said", 1, 2, namespace="/admin")
        for each in (a, b):
            assert each.next() == '2["said",1,2]'
        assert full.packets() == [], "it is in as many rooms as it may be"
        admin.emit("leave", "/", "tea", a.sid, namespace="/admin")
        until(lambda: [*server.manager.sids_in("/", ["tea"])] == [b.sid])
        admin.emit("_disconnect", "/", False, b.sid, namespace="/admin")
        assert b.next() == "1"
        admin.emit("_disconnect", "/", True, a.sid, namespace="/admin")
        until(lambda: a.link.closed)
        assert server.stats()["handler_errors"] == 0
    finally:
        admin_side.shutdown()


@pytest.mark.parametrize(
    "options",
    [
        {"auth": None},
        {"auth": {}},
        {"auth": []},
        {"auth": [LOGIN, {}]},
        {"auth": True},
        {"auth": 0},
        {"auth": "secret"},
        {"auth": ("ada", "secret")},
        {"auth": dict},
        {"auth": lambda: True},
        {"auth": lambda username, password: True},
        {"mode": "prod"},
        {"read_only": "no"},
        {"server_id": 5},
        {"server_stats_interval": 0},
        {"server_stats_interval": "2"},
        {"server_stats_interval": float("nan")},
    ],
)
def test_an_invalid_argument_of_instrument_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Server().instrument(**{"auth": LOGIN, **options})


def test_a_server_has_one_admin_ui() -> None:
    server = Server()
    first = server.instrument(auth=LOGIN, server_stats_interval=0.05)
    with pytest.raises(OptionError, match="instrument"):
        server.instrument(auth=LOGIN)
    assert Polling(server).join()
    first.shutdown()
    first.uninstrument()
    again = server.instrument(auth=LOGIN, server_stats_interval=0.05)
    assert Polling(server).join()
    again.shutdown()
