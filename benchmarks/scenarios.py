"""The scenarios: each drives one server and yields its figures, in short turns.

The driver gives the servers their turns one after the other, so that other work on the machine
affects all alike. A turn yields its measurement, or nothing. A figure counts only if every message
arrived and was the expected one; otherwise `Void` is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks import wire
from benchmarks.accounting import cpu_ns, memory_bytes, settle
from benchmarks.clients import Pool, Void
from benchmarks.connecting import cold, connect
from benchmarks.hosts import hosts
from benchmarks.participants import call
from benchmarks.returns import ROOM, Sessions
from benchmarks.storm import storm
from benchmarks.subject import Figures, Scale, Subject, Turns, costs, leave, spent
from benchmarks.traffic import SAID, Court, Talk, open_pairs, paced, wave
from benchmarks.workers import death, handover, redis, workers

RELAY_PAIRS = 300  # enough for all that a figure sends, at 1 µs each
FANOUT_ROOMS_AT_ONCE = 8


# -- relay ----------------------------------------------------------------------------------------


def relay(subject: Subject, scale: Scale) -> Turns:
    """Server CPU per relayed message, by size and by the messages in flight (pairs x each)."""
    pool = subject.pool()
    court = Court(pool, open_pairs(pool, RELAY_PAIRS, 300), 300)
    court.play(20, 1, spent(subject, scale.first_cpu_seconds))
    leave(pool, subject)
    yield {}
    for pairs, window in scale.relay_in_flight:
        for size in scale.relay_sizes:
            court = Court(pool, open_pairs(pool, RELAY_PAIRS, size), size)
            play = partial(court.play, pairs, window)
            yield from costs(f"relay-{size}-{pairs}x{window}", subject, scale, pool, play)
            leave(pool, subject)


# -- latency --------------------------------------------------------------------------------------


def latency(subject: Subject, scale: Scale) -> Turns:
    """Microseconds from when a message was due until it was read, at a steady rate."""
    pool = subject.pool()
    for rate in scale.latency_rates:
        pairs = open_pairs(pool, 100, 300)
        paced(pool, pairs, rate, scale.latency_seconds)
        for _ in range(scale.turns):
            yield {}
            taken = sorted(paced(pool, pairs, rate, scale.latency_seconds))
            yield {
                f"latency-{rate}-p50": taken[len(taken) // 2] * 1e6,
                f"latency-{rate}-p99": taken[len(taken) * 99 // 100] * 1e6,
            }
        leave(pool, subject)


# -- fan-out --------------------------------------------------------------------------------------


def fanout(subject: Subject, scale: Scale) -> Turns:
    """Server CPU per recipient of an application's event to a room of each size."""
    pool = subject.pool()
    _talk(pool, scale.fanout_rooms[0]).hold(spent(subject, scale.first_cpu_seconds))
    leave(pool, subject)
    yield {}
    for size in scale.fanout_rooms:
        talk = _talk(pool, size)
        yield from costs(f"fanout-{size}", subject, scale, pool, talk.hold)
        leave(pool, subject)


def _talk(pool: Pool, size: int) -> Talk:
    first, length = pool.groups, len(wire.client_frame(wire.event("say", SAID)))
    rooms = pool.open_groups(FANOUT_ROOMS_AT_ONCE, size, join=True, message_bytes=length)
    return Talk(pool, rooms, first)


# -- disconnect -----------------------------------------------------------------------------------


def disconnect(subject: Subject, scale: Scale) -> Turns:
    """Server CPU of disconnects from rooms of four, with the peer-left events."""
    pool = subject.pool()
    _dissolve(pool, subject, scale.disconnects[0] // 5)  # warms up
    for count in scale.disconnects:
        yield {f"disconnect-{count}": _dissolve(pool, subject, count) / 1e6}


def _dissolve(pool: Pool, subject: Subject, count: int) -> int:
    rooms = pool.open_groups(count // 4, 4, join=True)
    before = settle(subject.pid)
    while rooms[0]:
        wave(pool, rooms)
    return settle(subject.pid) - before


# -- recovery -------------------------------------------------------------------------------------


def recovery(subject: Subject, scale: Scale) -> Turns:
    """Server CPU of losing and recovering sessions all at once, and the memory at each stage.

    The emits while they are away are counted separately.
    """
    pool = subject.pool()
    _part_and_meet(pool, subject, max(ROOM, scale.recoveries // 10), 0)  # warms up
    empty = memory_bytes(subject.pid)
    yield _part_and_meet(pool, subject, scale.recoveries, empty)


def _part_and_meet(pool: Pool, subject: Subject, count: int, empty: int) -> Figures:
    sessions = Sessions(pool, count)
    count = len(sessions.members)
    sessions.talk()
    start = settle(subject.pid)
    figures = {f"recovery-memory-{count}-before": float(memory_bytes(subject.pid))}
    sessions.cut()
    lost = settle(subject.pid)
    missed = sessions.speak()
    away = settle(subject.pid)
    figures[f"recovery-memory-{count}-away"] = memory_bytes(subject.pid)
    sessions.come_back()
    back = settle(subject.pid)
    figures[f"recovery-memory-{count}-after"] = memory_bytes(subject.pid)
    sessions.greet()
    sessions.leave()
    settle(subject.pid)
    kept = {figure: (size - empty) / 1000 / count for figure, size in figures.items()}
    return {
        f"recovery-cpu-{count}-both": (lost - start + back - away) / 1000 / count,
        f"recovery-cpu-{count}-loss": (lost - start) / 1000 / count,
        f"recovery-cpu-{count}-return": (back - away) / 1000 / count,
        f"recovery-cpu-{count}-emit": (away - lost) / 1000 / missed,
        **kept,
    }


# -- idle -----------------------------------------------------------------------------------------


def idle(subject: Subject, scale: Scale) -> Turns:
    """Memory per idle connection at each count, then the CPU of keeping the last count alive.

    Says ``ready`` when all are open and waits for a line, so that several servers can idle at
    once. The CPU is taken over whole ping intervals of the server's own.
    """
    pool, empty = _emptied(subject)
    yield {"memory-base": empty / 1e6}
    for count in scale.memory:
        yield {f"memory-{count}": _memory_of(count, pool, subject, empty)}
    if subject.bare:
        return
    print("ready", flush=True)
    pool.serve_until_told()
    interval = next(iter(pool.clients.values())).interval
    seconds = max(1, round(scale.idle_seconds / interval)) * interval
    pool.pongs = 0
    before, start = cpu_ns(subject.pid), time.monotonic()
    while (left := start + seconds - time.monotonic()) > 0:
        pool.serve(left)
    microseconds = (cpu_ns(subject.pid) - before) / 1000
    if not pool.pongs:
        raise Void(f"no ping in {seconds:.0f} s")
    yield {
        f"idle-cpu-{len(pool.clients)}": microseconds / seconds / 1000,
        "idle-ping": microseconds / pool.pongs,
    }


def limit(subject: Subject, scale: Scale) -> Turns:
    """Memory per idle connection with as many connections as there can be."""
    pool, empty = _emptied(subject)
    for count in scale.memory:
        yield {f"limit-{count}": _memory_of(count, pool, subject, empty)}


def _emptied(subject: Subject) -> tuple[Pool, int]:
    """A pool of a server that has had connections, and the server's memory without them."""
    pool = subject.pool()
    pool.open(100)
    pool.serve(0)
    leave(pool, subject)
    return pool, memory_bytes(subject.pid)


def _memory_of(count: int, pool: Pool, subject: Subject, empty: int) -> float:
    """Kilobytes per connection, with so many of them."""
    pool.open(count - len(pool.clients))
    settle(subject.pid)
    return (memory_bytes(subject.pid) - empty) / 1000 / count


SCENARIOS: dict[str, Callable[[Subject, Scale], Turns]] = {
    function.__name__: function
    for function in (
        call,
        connect,
        cold,
        relay,
        latency,
        fanout,
        disconnect,
        recovery,
        storm,
        idle,
        limit,
        workers,
        redis,
        handover,
        death,
        hosts,
    )
}
