"""Two peers who want nothing but to talk to each other, while somebody else attacks the server.

A process of its own (`python -m tests.integration.bystanders PORT`), so that what an attack costs
the attacker is not taken for what it costs them. They relay in turn, without a break; a line on
stdin asks how they fare since the last one. `Bystanders` is the test's side of it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.integration.raw import RawWebSocket
from tests.integration.servers import DEADLINE

ROOT = Path(__file__).parent.parent.parent

PAUSE = 0.02  # seconds between two rounds: well below the rate that a server grants


class Bystanders:
    """The pair, as a subprocess. ``sids`` are theirs; both are in the room ``hall``."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.bystanders", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.sids: list[str] = self._line()

    def report(self) -> dict[str, Any]:
        """How they fared: ``relayed``, ``p99_ms``, and ``strange``: what nobody of them sent."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        report: dict[str, Any] = self._line()
        return report

    def _line(self) -> Any:
        assert self._process.stdout is not None
        told = select.select([self._process.stdout], [], [], 2 * DEADLINE)[0]
        line = self._process.stdout.readline() if told else ""
        assert line, "the bystanders lost a message, or their connection: see their traceback"
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def main(port: int) -> None:
    server: Any = SimpleNamespace(port=port)
    a, b = RawWebSocket(server), RawWebSocket(server)
    for peer in (a, b):
        peer.join(auth={"room": "hall"})
    print(json.dumps([a.sid, b.sid]), flush=True)
    number, took, strange = 0, [], []
    while True:
        for sender, receiver in ((a, b), (b, a)):
            number += 1
            packet = sender.envelope(receiver.sid, {"candidate": {"number": number}})
            packet = packet.replace('", {', '",{', 1)  # as the server spells what is not theirs
            began = time.perf_counter()
            sender.send(packet)
            strange += receiver.receive_until(packet)
            took.append(time.perf_counter() - began)
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            if not sys.stdin.readline():
                return
            p99 = sorted(took)[int(len(took) * 0.99)] * 1000
            told = [str(each)[:200] for each in strange]
            print(
                json.dumps({"relayed": len(took), "p99_ms": round(p99, 1), "strange": told}),
                flush=True,
            )
            took, strange = [], []


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except BaseException:  # noqa: BLE001 - the process ends, and says why
        traceback.print_exc()
    os._exit(0)  # the client library's threads would stay
