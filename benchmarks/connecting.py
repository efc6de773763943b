"""The scenarios of connections: on a warm server, one life after the other; and on a new server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import wire
from benchmarks.accounting import settle
from benchmarks.clients import BATCH, PATIENCE, Client, Pool
from benchmarks.subject import Scale, Subject, Turns, leave

LAST_LIVES = 100  # of the warm-up: like those that are measured
UPGRADES_AT_ONCE = 20  # Node ends their polls some 100 ms after the probe
Way = Callable[[int], list[Client]]  # opens so many clients at the same time


def connect(subject: Subject, scale: Scale) -> Turns:
    """Server CPU of one connection from its first byte to its end, on a server that has had many.

    A client connects, joins the default namespace and closes; then the next one comes. Of those
    that begin on polling, `UPGRADES_AT_ONCE` come together.
    """
    pool = subject.pool()
    warm_up(pool, scale.warm_lives)
    for figure, way, together in (
        ("connect-websocket", partial(websockets, pool), 1),
        ("connect-upgrade", pool.open_upgraded, UPGRADES_AT_ONCE),
    ):
        live(way, min(scale.warm_lives, LAST_LIVES), together)
        for _ in range(scale.turns):
            yield {}
            before = settle(subject.pid)
            live(way, scale.lives, together)
            yield {figure: (settle(subject.pid) - before) / 1000 / scale.lives}


def warm_up(pool: Pool, lives: int) -> None:
    """So many clients live on WebSocket, and half as many begin on polling."""
    live(partial(websockets, pool), lives, BATCH)
    live(pool.open_upgraded, lives // 2, 2 * BATCH)


def live(way: Way, lives: int, together: int) -> None:
    """So many clients connect and leave, some of them together."""
    for start in range(0, lives, together):
        for client in way(min(together, lives - start)):
            client.leave()


def websockets(pool: Pool, count: int) -> list[Client]:
    return pool.open_websockets([wire.CONNECT] * count)


def cold(subject: Subject, scale: Scale) -> Turns:
    """Server CPU per connection on a new server, where a compiler has compiled nothing yet.

    Up to the answer to Socket.IO's CONNECT, 50 at a time.
    """
    pool = subject.pool()
    ways = {"cold-websocket": pool.open, "cold-upgrade": pool.open_upgrading}
    for figure, way in ways.items():
        way(2 * scale.connects)
        for _ in range(scale.turns):
            leave(pool, subject)
            yield {}
            before = settle(subject.pid)
            clients = way(scale.connects)
            cost = settle(subject.pid) - before
            _still_there(pool, clients)
            yield {figure: cost / 1000 / scale.connects}
        leave(pool, subject)


def _still_there(pool: Pool, clients: list[Client]) -> None:
    """A connection is real if an event is acknowledged over its WebSocket."""
    for client in clients:
        client.socket.settimeout(PATIENCE)
    pool.join(clients, [b"there"] * len(clients))
