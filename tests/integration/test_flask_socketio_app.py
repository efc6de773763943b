"""An app of Flask-SocketIO's does the same after its import was changed: equal transcripts.

Beside them, clients hear ``#rtcio:peer-left`` of the peers in their rooms.

Both run the same module with real servers (`SocketIO.run`) and real socket.io-client sockets.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from rtcio_sync import RtcioEvents
from tests.integration.clients import Client, Driver
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

TRANSPORTS = (["polling"], ["websocket"])
PACKAGES = ("flask_socketio", "rtcio_sync.flask_socketio")

#: Of a report, beside its type.
FACTS = ("event", "args", "message", "data", "reason", "wantsAck")

Transcript = list[Any]


class Play:
    """The clients of one run of the scene, and what they and the server have heard so far."""

    def __init__(self, server: Running, node: Driver, transports: list[str]) -> None:
        self.server = server
        self.node = node
        self.transports = transports
        self.clients: dict[str, Client] = {}
        self.names: dict[str, str] = {}
        self.told: dict[str, int] = {}
        self.transcript: Transcript = []

    def connect(self, name: str, namespace: str = "/", **options: Any) -> Client:
        headers = {"X-Key": name}
        client = self.node.open(
            self.server.url,
            namespace=namespace,
            transports=self.transports,
            extraHeaders=headers,
            **{name: each for name, each in options.items() if each is not None},
        )
        client.wait_until(lambda: {"connect", "connect_error"} & kinds(client), "answer")
        if "connect" in kinds(client):
            self.names[client.id] = f"<{name}>"
            client.answers("question", "an answer", {"of": name})
            client.answers("message", "an answer")
        self.clients[name] = client
        return client

    def step(self, what: str, do: Callable[[], Any]) -> None:
        """Does something, waits for all of its effects, and writes them down."""
        result = do()
        for client in self.clients.values():
            if "connect" in kinds(client) and "disconnect" not in kinds(client):
                assert client.call("fence") == "fence"
        heard = {name: self._news(name, client) for name, client in self.clients.items()}
        self.note(what, result, heard, self.server.get_json("/log"))

    def note(self, *facts: Any) -> None:
        text = json.dumps(facts, default=repr)
        for sid, name in self.names.items():
            text = text.replace(sid, name)
        text = re.sub(r"[\w-]{16}AA[\w-]{2}", "<a client that was refused>", text)
        self.transcript.append(json.loads(text))

    def get(self, path: str, key: str = "nobody") -> str:
        return self.server.get(path, {"X-Key": key}).read().decode()

    def _news(self, name: str, client: Client) -> list[Any]:
        reports = [
            [each["type"], *map(each.get, FACTS)]
            for each in list(client.reports)
            if each["type"] in ("event", "connect_error", "disconnect")
        ]
        known = self.told.get(name, 0)
        self.told[name] = len(reports)
        return reports[known:]


def kinds(client: Client) -> set[str]:
    """Of what happened to a client so far."""
    return {each["type"] for each in list(client.reports)}


def play(server: Running, node: Driver, transports: list[str]) -> Transcript:
    it = Play(server, node, transports)
    it.get("/reset")
    it.get("/session/user/ada", "a")
    for part in (connecting, asking, asked, from_http, sessions, leaving):
        part(it)
    return it.transcript


def connecting(it: Play) -> None:
    def connects(name: str, namespace: str = "/", auth: Any = None) -> None:
        what = f"{name} connects to {namespace}"
        it.step(what, lambda: bool(it.connect(name, namespace, auth=auth)))

    for name in ("a", "b"):
        connects(name, auth={"as": "a user"})
    for kind in ("nobody", "refused", "refused with data", "refused with more"):
        connects(kind, auth={"as": kind})
    connects("without auth")
    for name, namespace in {"c": "/chat", "d": "/calls", "e": "/calls", "f": "/failing"}.items():
        connects(name, namespace)
    connects("g", "/unknown")


def asking(it: Play) -> None:
    """Events with an acknowledgement."""
    a, b, c, d, f = (it.clients[name] for name in "abcdf")
    kinds = ["nothing", "text", "tuple", "list", "dict", "false", "empty", "bytes", "nested"]
    asks: list[tuple[Client, str, list[Any]]] = [
        (a, "echo", []), (a, "echo", [1, "two", {"three": b"\x03"}]), (c, "chat_echo", [{"a": 1}]),
        *((a, "answer", [kind]) for kind in kinds),
        (a, "message", ["hello"]), (a, "json", [{"hello": "json"}]), (a, "emit", [b.id]),
        (a, "rooms", [b.id]), (b, "rooms", [a.id]), (b, "emit", [a.id]), (a, "ask", [b.id]),
        (a, "registered", [1]), (c, "registered", [2]), (a, "first name", [1]),
        (a, "second name", [2]), (a, "unheard of", [1, 2]), (c, "anywhere", [1]),
        (a, "fail", ["on purpose"]), (c, "fail", ["in chat"]), (d, "message", ["hello"]),
        (d, "join", ["of calls"]), (d, "sends", [{"some": "data"}]), (d, "close", ["of calls"]),
        (d, "fail", ["in a class"]), (d, "unheard_of", [1]), (f, "fail", ["once"]),
        (a, "session", ["first"]), (a, "session", ["second"]), (a, "after init_app", [1]),
    ]  # fmt: skip
    for client, event, args in asks:
        it.step(event, lambda: client.answer(client.ask(event, *args)))  # noqa: B023


def asked(it: Play) -> None:
    """Events that the clients acknowledge."""
    a, b = it.clients["a"], it.clients["b"]

    def calls_back(event: str, *args: Any) -> None:
        count = len(a.received("callback"))
        it.step(event, lambda: (a.call(event, *args), a.wait_for("callback", count + 1)))

    calls_back("ask with callback", a.id)
    calls_back("ask with callback", b.id)
    calls_back("send with callback")


def from_http(it: Play) -> None:
    sid = it.clients["a"].id
    for path in ("/emit", f"/call/{sid}", "/emit-later", f"/skip/{sid}", "/close/tea", "/emit"):
        it.step(path, lambda: it.get(path))  # noqa: B023


def sessions(it: Play) -> None:
    """What events and HTTP see of the session, before it is shared and then."""
    a = it.clients["a"]
    it.step("what HTTP sees of a session", lambda: it.get("/session", "a"))
    it.get("/manage/0")
    for value in ("first", "second"):
        it.step("a session that is saved", lambda: a.call("session", value))  # noqa: B023
        it.step("what HTTP sees of it", lambda: it.get("/session", "a"))
        it.step("what it saves", lambda: it.get(f"/session/http/{value}", "a"))  # noqa: B023


def leaving(it: Play) -> None:
    a, b, d = (it.clients[name] for name in "abd")

    def leaves(what: str, client: Client, do: Callable[[], Any]) -> None:
        def left() -> None:
            do()
            client.wait("disconnect")
            log: list[Any] = []

            def told() -> bool:
                log.extend(it.server.get_json("/log"))
                return any("disconnect" in each[0] for each in log)

            wait_until(told, DEADLINE)
            it.note("the server's side", sorted(log, key=repr))

        it.step(what, left)

    leaves("is disconnected by another", b, lambda: a.call("kick", b.id))
    leaves("leaves", d, d.disconnect)
    leaves("is disconnected by its own event", a, lambda: a.emit("leave me"))


def message_of(step: Any) -> str:
    """Of the one client that was refused in a step."""
    ((refused,),) = (news for news in step[2].values() if news)
    assert refused[0] == "connect_error"
    return str(refused[1 + FACTS.index("message")])


def apart(transcript: Transcript) -> tuple[Transcript, list[str]]:
    """A transcript of ours without peer-left, and the steps in which a client heard that."""
    kept, told = copy.deepcopy(transcript), []
    for step in kept:
        for news in step[2].values() if len(step) == 4 else ():
            left = [each for each in news if each[1] == RtcioEvents.PEER_LEFT]
            told += [step[0]] * len(left)
            news[:] = [each for each in news if each not in left]
    return kept, told


def transcripts(package: str, node: Driver) -> list[Transcript]:
    ours = package.startswith("rtcio_sync")
    environ = {"RTCIO_TEST_IMPORT": package}
    with running("socketio-run", "flask_socketio_calls", environ=environ, clean_log=ours) as server:
        found = [play(server, node, transports) for transports in TRANSPORTS]
        assert server.get("/stop").read() == b"ok"
        assert server.process.wait(DEADLINE) == 0
        return found


@pytest.fixture(scope="module")
def both(_driver: Driver) -> dict[str, list[Transcript]]:
    return {package: transcripts(package, _driver) for package in PACKAGES}


@pytest.mark.parametrize("transport", (0, 1), ids=("polling", "websocket"))
def test_the_app_does_the_same_under_both_imports(
    both: dict[str, list[Transcript]], transport: int
) -> None:
    theirs, (ours, told) = both[PACKAGES[0]][transport], apart(both[PACKAGES[1]][transport])
    assert [each[0] for each in ours] == [each[0] for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        if one[0] == "g connects to /unknown":
            # Flask-SocketIO's refusal is a string, which is no message for socket.io-client.
            assert (message_of(one), message_of(other)) == ("Invalid namespace", "")
        else:
            assert one == other
    heard = [news for each in ours if len(each) == 4 for news in each[2].values()]
    assert sum(map(len, heard)) > 100
    assert told == ["is disconnected by another"]


def test_the_app_does_the_same_on_both_transports(both: dict[str, list[Transcript]]) -> None:
    polling, websocket = both[PACKAGES[1]]
    assert polling == websocket
