"""The chat of docs/chat-history.md: nothing is lost or doubled; no query stops other clients."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.examples.launch import EXAMPLES, example, program
from tests.examples.visitors import connect, join
from tests.integration.clients import Client, Driver
from tests.integration.servers import BIN, Running, free_port
from tests.timing import DEADLINE

LAST = 2**53 - 1  # the largest whole number of JavaScript


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat") / "chat.sqlite3"


@pytest.fixture(scope="module")
def served(file: Path) -> Iterator[Running]:
    with example("chat_history.py", CHAT_DB=str(file)) as server:
        yield server


def say(client: Client, text: str, room: str = "demo", key: str | None = None) -> Any:
    return client.call("chat-message", {"roomId": room, "text": text, "key": key or text})


def history(client: Client, room: str = "demo") -> list[dict[str, Any]]:
    """All pages, the oldest message first."""
    found: list[dict[str, Any]] = []
    more, before = True, LAST
    while more:
        page = client.call("chat-page", {"roomId": room, "before": before})
        assert len(page["messages"]) <= 50 and page["roomId"] == room
        found[:0] = page["messages"]
        more, before = page["more"], found[0]["number"] if found else 0
    return found


def test_a_newcomer_gets_the_last_messages_and_pages_back_to_the_first(
    node: Driver, tmp_path: Path
) -> None:
    file = str(tmp_path / "chat.sqlite3")
    with example("chat_history.py", CHAT_DB=file) as server:
        a, b = connect(node, server), connect(node, server)
        join(a, name="ada")
        join(b, name="bob")
        for number in range(1, 121):
            kept = {"number": number, "name": "ada", "text": str(number)}
            assert say(a, str(number)) == kept
        heard = b.wait_for("chat-message", count=120)
        assert heard == [{"roomId": "demo", "id": a.id, **kept}]

    with example("chat_history.py", CHAT_DB=file) as server:  # a restart loses nothing
        late = connect(node, server)
        join(late, name="eve")
        first = late.wait_for("chat-history")[0]
        assert [each["number"] for each in first["messages"]] == list(range(71, 121))
        assert first["more"] is True
        assert [each["text"] for each in history(late)] == [str(each) for each in range(1, 121)]


def test_a_message_that_is_sent_again_is_kept_once(node: Driver, served: Running) -> None:
    a = connect(node, served)
    join(a, "twice", name="ada")
    assert say(a, "hello", "twice", key="k") == say(a, "hello", "twice", key="k")
    assert [each["text"] for each in history(a, "twice")] == ["hello"]


def test_what_is_wrong_is_refused_with_a_reason(node: Driver, served: Running) -> None:
    a = connect(node, served)
    join(a, "wrong", name="ada" * 1000)
    good = {"roomId": "wrong", "text": "hello", "key": "k"}
    for wrong in (
        {"roomId": "a room that it is not in"},
        {"text": "x" * 1001},
        {"text": ""},
        {"text": None},
        {"key": "x" * 65},
        {"key": None},
    ):
        assert a.call("chat-message", {**good, **wrong}).keys() == {"error"}
    for before in (None, "1", 0, 2**64, True, 1.5):
        assert a.call("chat-page", {"roomId": "wrong", "before": before}).keys() == {"error"}
    assert a.call("chat-page", {"roomId": "other", "before": LAST}).keys() == {"error"}
    assert history(a, "wrong") == []
    assert len(a.call("chat-message", good)["name"]) == 256


def test_no_other_client_waits_while_the_database_is_locked(
    node: Driver, served: Running, file: Path
) -> None:
    a, b = connect(node, served), connect(node, served)
    join(a, "locked", name="ada")
    join(b, "locked", name="bob")
    answered = len([each for each in a.reports if each["type"] == "ack"])
    with closing(sqlite3.connect(file)) as other_process:
        other_process.execute("begin immediate")  # nobody else may write
        asked = a.ask("chat-message", {"roomId": "locked", "text": "hello", "key": "k"})
        a.fence(b)  # the server has read what `a` said
        assert history(b, "locked") == []  # a handler runs, and reads
        b.fence(a)
        assert not [each for each in a.reports if each["type"] == "ack"][answered:]
        other_process.rollback()
    assert a.answer(asked)[0]["text"] == "hello"


@contextmanager
def two_workers(**environ: str) -> Iterator[Running]:
    port = free_port()
    command = [str(BIN / "gunicorn"), "-k", "gevent", "-w", "2", "-b", f"127.0.0.1:{port}"]
    run = program([*command, "chat_history:app"], environ=environ, port=port, cwd=EXAMPLES)
    with run as server:
        yield server


def on_both(node: Driver, server: Running) -> tuple[Client, Client]:
    """A client of each worker: sids begin with the id of their worker."""
    found: dict[str, Client] = {}
    end = time.monotonic() + DEADLINE
    while len(found) < 2:
        assert time.monotonic() < end, "one worker takes all clients"
        client = connect(node, server)
        if found.setdefault(client.id[:4], client) is not client:
            client.disconnect()
    one, two = found.values()
    return one, two


def test_two_workers_keep_one_history_in_one_order(node: Driver, tmp_path: Path) -> None:
    with two_workers(CHAT_DB=str(tmp_path / "chat.sqlite3")) as server:
        a, b = on_both(node, server)
        join(a, name="ada")
        join(b, name="bob")
        asked = []
        for number in range(40):
            for client in (a, b):
                said = {"roomId": "demo", "text": "hello", "key": f"{client.id} {number}"}
                asked.append((client, client.ask("chat-message", said)))
        kept = [client.answer(token)[0] for client, token in asked]
        numbers = {
            client: [each["number"] for each in kept if each["name"] == name]
            for client, name in ((a, "ada"), (b, "bob"))
        }
        for client, other in ((a, b), (b, a)):
            other.wait_for("chat-message", count=40)
            heard = [args[0]["number"] for args in other.received("chat-message")]
            assert heard == numbers[client] == sorted(heard)  # of one sender: once, in order
        everything = history(a)
        assert [each["number"] for each in everything] == list(range(1, 81))
        assert everything == sorted(kept, key=lambda each: each["number"]) == history(b)
