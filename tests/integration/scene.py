"""Where an attack takes place: a server, two bystanders, and the attacker's connections."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from tests.integration.hostile import STAYS, Fate, Hostile

MB = 1_000_000

#: Seconds in which a server must take notice of an attacker; more than a starved one of ours takes.
NOTICE = 20.0

#: The receive buffer of an attacker that does not read, bytes: what the kernel takes for it is
#: nothing that the server has to keep.
DEAF = 4096


class Scene(ExitStack):
    """A server's port, the sids of two who have done nothing, and the attacker's connections.

    ``notice``: seconds to wait for an attacker's end; ``patience``: seconds that an attacker sends
    what the server does not take. ``seconds`` is how long a flood of frames lasts, ``flood`` how
    long one of events. ``silence``: seconds after which the server must have noticed that a peer is
    silent, its ping time-out among them; ``quiet``: seconds that one who does not read goes on not
    reading. ``redis``: the URL of the server's Redis, if it has one.
    """

    def __init__(
        self,
        port: int,
        victims: Sequence[str],
        *,
        notice: float = NOTICE,
        patience: float = NOTICE,
        seconds: float = 1.5,
        flood: float = 40.0,
        silence: float = 30.0,
        quiet: float = 12.0,
        redis: str | None = None,
    ) -> None:
        super().__init__()
        self.port = port
        self.victims = victims
        self.notice = notice
        self.patience = patience
        self.seconds = seconds
        self.flood = flood
        self.silence = silence
        self.quiet = quiet
        self.redis = redis
        #: Bytes that the attacker got rid of.
        self.sent = 0
        #: The attacker's sid, where it has one.
        self.sid = ""

    def hostile(self, **options: Any) -> Hostile:
        return self.enter_context(Hostile(self.port, **options))

    def joined(self, **options: Any) -> Hostile:
        hostile = self.hostile(**options)
        self.sid = hostile.join()
        return hostile

    def deaf(self) -> Hostile:
        """One who has joined and reads nothing more."""
        return self.joined(window=DEAF)

    def accomplice(self) -> Hostile:
        """One more in the attacker's room, who reads nothing of what is said there."""
        hostile = self.hostile(window=DEAF)
        hostile.join()
        hostile.say('4299["join","lair"]')
        hostile.until("4399[")
        return hostile

    def dial(self, data: bytes, *, window: int | None = None) -> socket.socket:
        """A TCP connection on which that has been said, and nothing read."""
        sock = self.enter_context(socket.socket())
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.settimeout(self.patience)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall(data)
        return sock

    def push(self, hostile: Hostile, pieces: Iterable[bytes]) -> Fate:
        """Sends them all, or for as long as it has patience, and waits for the end."""
        self.sent, hung_up = hostile.push(pieces, self.patience)
        return end_of(hostile) if hung_up else hostile.fate(self.notice)


def end_of(hostile: Hostile) -> Fate:
    # What came before TCP's end is in the buffer: the close frame is the last of it, at most.
    fate = hostile.fate(1.0)
    return Fate("closed") if fate is STAYS else fate


def envelope(source: Any, target: Any, data: Any = None, **more: Any) -> str:
    return "42" + json.dumps(
        ["#rtcio:message", {"source": source, "target": target, "data": data or {}, **more}]
    )


def and_stays(scene: Scene, hostile: Hostile, ask: str = '"join","lair"') -> Fate:
    """Whether the server still listens to it: what it said before has been dealt with then."""
    try:
        hostile.say(f"4299[{ask}]")
        hostile.until("4399[")
    except TimeoutError:
        return Fate("is not answered")
    except (AssertionError, ConnectionError):
        return end_of(hostile)
    return STAYS


def still_open(socks: Iterable[socket.socket], seconds: float) -> int:
    """How many of them the server has not closed within so many seconds, all together."""
    end = time.monotonic() + seconds
    left = 0
    for sock in socks:
        try:
            while True:
                sock.settimeout(max(0.01, end - time.monotonic()))
                if not sock.recv(65536):
                    break
        except TimeoutError:
            left += 1
        except OSError:
            pass
    return left
