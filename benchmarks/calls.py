"""``python -m benchmarks.calls``: how many functions of the package a message passes through.

A real server and its clients over TCP, in one process; the calls of the package's own functions are
counted by `cProfile` while ``TIMES`` of one thing happen, so that the figures are the same on every
machine. What they cost is measured elsewhere: ``python -m benchmarks``.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import cProfile  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pstats  # noqa: E402
import socket  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

import rtcio_sync  # noqa: E402
from rtcio_sync import Server  # noqa: E402

PACKAGE = str(Path(rtcio_sync.__file__).parent)
BATCHES, TIMES = 8, 25
GET = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def framed(text: str) -> bytes:
    """A client's frame (RFC 6455 5.2), masked with zeros."""
    payload = text.encode()
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else (
        bytes([0xFE]) + len(payload).to_bytes(2, "big")
    )
    return b"\x81" + length + b"\0\0\0\0" + payload


class Peer:
    """A WebSocket client that reads until it has seen a piece of text."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._read = b""
        self._sock.sendall(GET.encode())
        self.until(b'"sid"')

    def send(self, text: str) -> None:
        self._sock.sendall(framed(text))

    def until(self, piece: bytes) -> bytes:
        while piece not in self._read:
            data = self._sock.recv(65536)
            if not data:
                raise EOFError(self._read)
            self._read += data
        seen, self._read = self._read, b""
        return seen

    def join(self) -> str:
        self.send("40")
        answer = self.until(b'40{"sid":')
        return str(json.loads(answer[answer.index(b'40{"sid":') + 2 :])["sid"])

    def close(self) -> None:
        self._sock.close()


def with_handlers() -> Server:
    server = Server(ping_interval=3600)

    @server.on("connection")
    def on_connection(client: Any) -> None:
        client.on("ask", lambda data: data)
        client.on("join", lambda room: client.join(room))
        client.on("shout", lambda data: client.to("room").emit("heard", data))

    return server


@contextmanager
def serving(server: Server) -> Iterator[int]:
    ready = Event()
    ports: list[int] = []

    def tell(port: int) -> None:
        ports.append(port)
        ready.set()

    task = gevent.spawn(server.listen, 0, host="127.0.0.1", ready=tell)
    assert ready.wait(60), "it does not listen"
    try:
        yield ports[0]
    finally:
        server.stop()
        task.join(10)


def counted(do: Callable[[], None]) -> Counter[str]:
    """The calls of each function in ``TIMES`` of ``do()``: the fewest of ``BATCHES``.

    On a busy machine handlers have to wait for their turn, and the clock's task runs more often.
    """
    return min((_counted(do) for _ in range(BATCHES)), key=lambda functions: functions.total())


def _counted(do: Callable[[], None]) -> Counter[str]:
    profile = cProfile.Profile(builtins=False)
    profile.enable()
    for _ in range(TIMES):
        do()
    gevent.sleep(0.05)
    profile.disable()
    functions: Counter[str] = Counter()
    for (path, line, name), (_, number, *_) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if path.startswith(PACKAGE):
            functions[f"{os.path.relpath(path, PACKAGE)}:{line} {name}"] += number
    return functions


def relay(one: Peer, sid: str, other: Peer, target: str) -> None:
    envelope = json.dumps({"source": sid, "target": target, "data": {"candidate": "x"}})
    one.send(f'42["#rtcio:message",{envelope}]')
    other.until(b"candidate")


def ask(one: Peer) -> None:
    one.send('420["ask","hello"]')
    one.until(b"430")


def connect(port: int, kept: list[Peer]) -> None:
    kept.append(Peer(port))
    kept[-1].join()


def leave(kept: list[Peer]) -> None:
    kept.pop().close()
    gevent.sleep(0.01)


def shout(one: Peer, others: list[Peer]) -> None:
    one.send('42["shout","hello"]')
    for each in others:
        each.until(b"hello")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--functions", action="store_true", help="each function, too")
    options = parser.parse_args()
    with serving(with_handlers()) as port, serving(Server(ping_interval=3600)) as bare:
        one, other = Peer(port), Peer(port)
        sid, target = one.join(), other.join()
        room, kept = [Peer(port) for _ in range(3)], []
        for each in room:
            each.join()
        for each in (other, *room):
            each.send('420["join","room"]')
            each.until(b"430")
        rows: dict[str, Callable[[], None]] = {
            "a relay": lambda: relay(one, sid, other, target),
            "an event with an acknowledgement": lambda: ask(one),
            "an event that its handler emits to a room of 4": lambda: shout(one, [other, *room]),
            "a WebSocket that opens and joins": lambda: connect(bare, kept),
            "the end of such a WebSocket": lambda: leave(kept),
        }
        print("| what | calls | modules |\n|---|---|---|")
        for name, do in rows.items():
            if do is not rows["the end of such a WebSocket"]:
                do()  # caches are warm
            functions = counted(do)
            modules = {function.partition(":")[0] for function in functions}
            print(f"| {name} | {sum(functions.values()) / TIMES:.1f} | {len(modules)} |")
            if options.functions:
                for function, number in functions.most_common():
                    print(f"    {number / TIMES:6.2f} {function}")


if __name__ == "__main__":
    main()
