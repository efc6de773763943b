"""Two peers who want nothing but to talk to each other, while somebody else attacks the server.

A process of its own (`python -m tests.integration.bystanders PORT`), so that what an attack costs
the attacker is not taken for what it costs them. Each relays to the other whenever a message is
due, whatever has come of those before: a server that stalls delays many, not one. A line on stdin
asks how they fare since the last one. `Bystanders` is the side of whoever asks.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.frames import masked
from tests.integration.hostile import Hostile

ROOT = Path(__file__).parent.parent.parent

PAUSE = 0.02  # seconds between two messages of one of them: half of the rate that a server grants

#: Seconds after which a message that has not come counts as lost.
PATIENCE = 20.0

#: The room that both are in.
HALL = "hall"


class Bystanders:
    """The pair, as a subprocess. ``sids`` are theirs; both are in the room `HALL`."""

    def __init__(self, port: int, *, core: int | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.bystanders", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        self.sids: list[str] = self._line()

    def report(self) -> dict[str, Any]:
        """How they fared.

        ``relayed`` and ``lost`` count messages, ``p99_ms`` is from when a message was due until it
        was read, ``strange`` is what came and neither of them sent, ``cut`` says how a connection
        of theirs ended, if one did.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `_line` says so
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        report: dict[str, Any] = self._line()
        return report

    def _line(self) -> Any:
        assert self._process.stdout is not None
        told = select.poll()  # and not `select`, which knows only the first 1,024 descriptors
        told.register(self._process.stdout, select.POLLIN)
        line = self._process.stdout.readline() if told.poll(2 * PATIENCE * 1000) else ""
        assert line, "the bystanders are gone: see their traceback"
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Peer(Hostile):
    """One of the two, who sends what is due and reads without waiting."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.join()
        self.say(f'420["join","{HALL}"]')
        self.until("430")
        self.sock.setblocking(False)
        self.peer = self
        self._unsent = b""
        #: What is on its way to this one: the message, and when it was due.
        self.awaited: deque[tuple[bytes, float]] = deque()
        self.took: list[float] = []
        self.strange: list[str] = []

    def relay(self, number: int, due: float) -> None:
        envelope = {"source": self.sid, "target": self.peer.sid, "data": {"number": number}}
        message = "42" + json.dumps(["#rtcio:message", envelope], separators=(",", ":"))
        self.peer.awaited.append((message.encode(), due))
        self._unsent += masked(1, message.encode())
        self.send()

    def send(self) -> None:
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self.sock.send(self._unsent) :]

    def receive(self) -> None:
        """Reads what has come; raises `EOFError` at the end."""
        more = self.sock.recv(65536)
        if not more:
            raise EOFError("TCP ended")
        self._read += more
        now = time.perf_counter()
        while (whole := self._take()) is not None:
            opcode, payload = whole
            if opcode == 8:
                raise EOFError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if payload == b"2":
                self._unsent += masked(1, b"3")
                self.send()
            elif self.awaited and _is(payload, self.awaited[0][0]):
                self.took.append(now - self.awaited.popleft()[1])
            else:
                self.strange.append(payload[:200].decode(errors="replace"))

    def _take(self) -> tuple[int, bytes] | None:
        if len(self._read) < 2:
            return None
        size, start = self._read[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(self._read[2:start], "big")
        if len(self._read) < start + size:
            return None
        whole = self._read[0] & 0x0F, self._read[start : start + size]
        self._read = self._read[start + size :]
        return whole


def _is(payload: bytes, sent: bytes) -> bool:
    # With connection state recovery an offset follows the arguments.
    return payload == sent or (payload.startswith(sent[:-1] + b',"') and payload.endswith(b'"]'))


class _Talk:
    """The two of them, until stdin ends."""

    def __init__(self, port: int) -> None:
        self.peers = [_Peer(port), _Peer(port)]
        for one, other in (self.peers, self.peers[::-1]):
            one.peer = other
        self.number = 0
        self.cut: str | None = None
        print(json.dumps([peer.sid for peer in self.peers]), flush=True)

    def go_on(self) -> None:
        due = time.perf_counter()
        while True:
            if select.select([sys.stdin], [], [], 0)[0]:
                if not sys.stdin.readline():
                    return
                print(json.dumps(self.report()), flush=True)
                due = time.perf_counter()
            while self.cut is None and due <= time.perf_counter():
                self.number += 1
                for peer in self.peers:
                    peer.relay(self.number, due)
                due += PAUSE
            self.listen(due)

    def listen(self, until: float) -> None:
        """Until something has come, or that moment."""
        wait = max(0.0, until - time.perf_counter())
        if self.cut is not None:
            select.select([sys.stdin], [], [])
            return
        try:
            for readable in select.select([*self.peers, sys.stdin], [], [], wait)[0]:
                if isinstance(readable, _Peer):
                    readable.receive()
            for peer in self.peers:
                if peer._unsent:
                    peer.send()
        except BlockingIOError:
            pass
        except (EOFError, ConnectionError) as end:
            self.cut = str(end)

    def report(self) -> dict[str, Any]:
        patient = time.perf_counter() + PATIENCE
        while any(peer.awaited for peer in self.peers) and time.perf_counter() < patient:
            if self.cut is not None:
                break
            self.listen(min(patient, time.perf_counter() + 0.1))
        took = sorted(each for peer in self.peers for each in peer.took)
        told = {
            "relayed": len(took),
            "lost": sum(len(peer.awaited) for peer in self.peers),
            "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1) if took else None,
            "strange": [each for peer in self.peers for each in peer.strange],
            "cut": self.cut,
        }
        for peer in self.peers:
            peer.took, peer.strange = [], []
            peer.awaited.clear()
        return told


if __name__ == "__main__":
    try:
        _Talk(int(sys.argv[1])).go_on()
    except Exception:  # noqa: BLE001 - the process ends, and says why
        traceback.print_exc()
        sys.exit(1)
