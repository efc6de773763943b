"""Many real socket.io-clients that talk all the time, and what they notice (`node/crowd.js`)."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.clients import NODE_DIR
from tests.timing import DEADLINE


class Crowd:
    """``websockets`` and ``pollings`` clients, each with a message every ``every`` milliseconds.

    ``back``: they come back when they lose their connection.
    """

    def __init__(self, url: str, websockets: int, pollings: int, every: int, back: bool) -> None:
        numbers = [str(each) for each in (websockets, pollings, every)]
        self._process = subprocess.Popen(
            ["node", str(NODE_DIR / "crowd.js"), url, *numbers, *(["back"] if back else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _line(self) -> str:
        assert self._process.stdout is not None
        ready = select.poll()  # and not `select`, which knows only the first 1,024 descriptors
        ready.register(self._process.stdout, select.POLLIN)
        assert ready.poll(4 * DEADLINE * 1000), "the clients say nothing"
        return self._process.stdout.readline()

    def await_ready(self) -> None:
        assert self._line() == "ready\n"

    def stop(self) -> dict[str, Any]:
        """They stop to send; what has happened, once all has arrived."""
        assert self._process.stdin is not None
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    def assert_undisturbed(self) -> dict[str, Any]:
        """No client has noticed anything: all messages came, once, in order."""
        found = self.stop()
        assert found["trouble"] == [], found["trouble"][:10]
        assert found["missing"] == [], found["missing"]
        assert set(found["handshakes"]) == {"200"}, found["handshakes"]
        assert found["sent"] > 0
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def crowd(
    url: str, websockets: int = 40, pollings: int = 10, every: int = 50, *, back: bool = False
) -> Iterator[Crowd]:
    found = Crowd(url, websockets, pollings, every, back)
    try:
        found.await_ready()
        yield found
    finally:
        found.end()
