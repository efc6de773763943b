"""The Socket.IO Admin UI: `Server.instrument`, spoken to as the UI speaks."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync import Server
from tests.clients import Polling
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
