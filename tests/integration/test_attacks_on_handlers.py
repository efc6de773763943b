"""Whatever an app's handlers do for a client, it harms nobody else and leaves nothing."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from itertools import repeat

import pytest

from tests.frames import masked
from tests.integration import attacks_on_handlers as attacks
from tests.integration.hostile import STAYS, Fate
from tests.integration.target import WAYS, Target, target_of
from tests.timing import DEADLINE

#: An app's own errors are told: that is what the log is for.
TOLD = r"LOG ERROR|Traceback"


@pytest.fixture(scope="module", params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_of(request.param, clean_log=False) as target:
        yield target


def test_the_next_event_is_served_whatever_a_handler_raised(target: Target) -> None:
    with target.unharmed(allowed=TOLD), target.forgotten(), target.scene() as scene:
        assert attacks.handlers_that_raise(scene) is STAYS


def test_handlers_that_compute_for_one_client_let_others_have_their_turn(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        witness, hostile = scene.joined(), scene.joined()
        events = repeat(masked(1, b'42["compute",5]'), 900)
        hostile.push([b"".join(events), masked(1, b'4299["census"]')])
        for number in range(20):
            witness.say(f'42{number}["census"]')
            witness.until(f"43{number}[")
        assert select.select([hostile], [], [], 0)[0] == [], "the burst was over first"
        hostile.until("4399[")


def test_pages_that_are_asked_for_at_once_let_others_have_their_turn(target: Target) -> None:
    many, get = 3000, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        witness, answers, got = scene.joined(), b"HTTP/1.1 404", b""
        sock = scene.enter_context(socket.create_connection(("127.0.0.1", target.port), DEADLINE))
        sock.sendall(get * many)
        for number in range(20):
            witness.say(f'42{number}["census"]')
            witness.until(f"43{number}[")
            if select.select([sock], [], [], 0)[0]:
                got += sock.recv(1 << 20)
        assert got.count(answers) < many / 2, "the burst was over first"
        while got.count(answers) < many:
            got += sock.recv(1 << 20)


def test_who_left_is_gone_though_its_handler_never_returns(target: Target) -> None:
    number = 20
    with target.unharmed(excused=number), target.forgotten(), target.scene() as scene:
        assert attacks.handlers_that_never_return(scene, number) == Fate("gone")


def test_who_is_put_out_while_it_connects_is_not_served(target: Target) -> None:
    with target.unharmed(), target.forgotten(), target.scene() as scene:
        assert attacks.put_out_while_let_in(scene) in (Fate("refused"), Fate("closed"))


def test_a_list_as_the_name_of_a_room_is_an_error_of_the_app(target: Target) -> None:
    before = target.server.get_json("/stats")["handler_errors"]
    with target.unharmed(allowed=TOLD), target.forgotten(), target.scene() as scene:
        assert attacks.list_as_room(scene, 3) is STAYS
    assert target.server.get_json("/stats")["handler_errors"] == before + 3


@pytest.fixture(scope="module", params=WAYS)
def lobby(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_of(request.param, lobby=True) as target:
        yield target


def test_rooms_of_a_lobby_cannot_be_squatted(lobby: Target) -> None:
    before = lobby.held()["rooms"]
    with lobby.unharmed(), lobby.forgotten(), lobby.scene() as scene:
        assert attacks.rooms_squatted(scene) is STAYS
        assert lobby.held()["rooms"] <= before + 64
