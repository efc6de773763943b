"""``python -m benchmarks.soak --minutes 60``: whether a server leaks under load and attacks.

At a steady rate rooms of four meet, call each other and leave, two bystanders relay, and every
second a new attacker comes (`tests.integration.attacks`). Every few seconds the server's memory,
greenlets and open descriptors are read. It exits with 0 only if each of these is about the same in
the last quarter of the time as in the second (`TOLERANCES`; from five minutes on), no message was
lost, and the server holds nothing of any client at the end.

Writes ``soak.json`` and ``soak.svg``, or ``soak-gunicorn-gevent.json`` and its picture. It takes
some 10 % of a core. The bystanders wait some 20 ms now and then because of the measurement: the
server looks through all its objects to count its greenlets.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks import wire
from benchmarks.accounting import cpu_ns, memory_bytes, tree
from benchmarks.clients import Client, Pool, Void
from benchmarks.contestants import HERE
from benchmarks.facts import about
from benchmarks.plots import lines
from benchmarks.traffic import SILENCE, wave
from tests.integration import attacks
from tests.integration import attacks_on_bounds as bounds
from tests.integration import attacks_on_handlers as handlers
from tests.integration.attacks import ATTACKS, Attack
from tests.integration.bystanders import Bystanders
from tests.integration.scene import MB, Scene
from tests.integration.servers import Running, complaints, running

ROOM = 4  # members
ROOMS = 10  # there at once
PER_SECOND = 2  # rooms that come, and that go
CANDIDATES = 5  # to each peer of a call, after one description of 4 kB
QUARTERS = 4

#: Seconds within which whatever was left of those who have gone must be gone, too.
LEFT = 60.0

#: Minutes from which on growth is told from ups and downs: in less, each quarter has a handful of
#: the attackers, and who of them happens to be there decides.
JUDGED_FROM = 5.0

#: How much more the median of the last quarter may be than that of the second: a share, and in
#: any case so much.
TOLERANCES = {
    "rss_mb": (0.03, 2.0),
    "own_mb": (0.03, 2.0),
    "greenlets": (0.0, 5.0),
    "descriptors": (0.0, 10.0),
}

#: The cheap ones, for the attacker at least; and those that take their time, in a soak of minutes.
BRIEF = (
    *(ATTACKS[name] for name in (
        "frame_of_a_tebibyte", "ten_billion_attachments", "deep_json", "poll_of_16_000_packets",
        "forged_source", "room_as_target", "reserved_events", "packets_of_an_unknown_type",
        "connect_repeated", "namespaces_without_end",
    )),
    *(ATTACKS[name] for name in (
        "one_attachment_many_times", "handlers_that_raise", "put_out_while_let_in",
        "polling_tab_closed",
    )),
    Attack("20 silent connections", lambda scene: attacks.silent_connections(scene, 20)),
    Attack("2 CONNECTs of lists", lambda scene: bounds.auth_of_many_lists(scene, 2)),
    Attack("2 events of lists", lambda scene: bounds.event_of_many_lists(scene, 2)),
    Attack("JSON of 500 levels", lambda scene: bounds.deep_json_forwarded(scene, number=5)),
    Attack("a form of many fields", lambda scene: bounds.jsonp_of_many_fields(scene, 1)),
    Attack("an index of many digits", lambda scene: bounds.jsonp_of_many_digits(scene, 1)),
    Attack("50 handlers that compute", lambda scene: handlers.burst_of_handlers(scene, 50)),
    Attack("a list as a room", lambda scene: handlers.list_as_room(scene, 1)),
)  # fmt: skip
SLOW = (
    ATTACKS["reads_nothing"],
    Attack("bodies that never come", lambda scene: bounds.bodies_that_never_come(scene, 1)),
    Attack("an unread answer", lambda scene: bounds.large_answer_nobody_reads(scene, 4 * MB)),
    Attack("a slow reader", lambda scene: bounds.slow_readers(scene, 1)),
    Attack("an unread poll", lambda scene: bounds.polling_answers_nobody_reads(scene, 1)),
)

#: What the log may hold: the errors that handlers were asked for, and what gunicorn says of a line
#: that is too long. Anything else that is above info is a fault.
TOLD = re.compile(r"LOG ERROR|Traceback|Invalid request|ValueError: asked to|TypeError")


@dataclass(frozen=True)
class Sample:
    """The figures of the server at one moment, and the bystanders' since the last sample.

    ``own_mb`` are its private pages (RssAnon). Pss does not measure growth: it falls when another
    Python starts on the machine, and rises when that ends.
    """

    seconds: float
    rss_mb: float
    own_mb: float
    pss_mb: float
    greenlets: int
    descriptors: int
    connections: int
    rooms: int
    relayed: int
    cpu_percent: float
    p99_ms: float
    lost: int


def unsteady(samples: Sequence[Sample]) -> list[str]:
    """What has grown or was lost; empty if there is no fault."""
    quarter = len(samples) // QUARTERS
    found = []
    for figure, (share, least) in TOLERANCES.items():
        values = [float(getattr(sample, figure)) for sample in samples]
        before = statistics.median(values[quarter : 2 * quarter])
        after = statistics.median(values[-quarter:])
        if after - before > max(share * before, least):
            found.append(f"{figure}: {before:.1f} in the second quarter, {after:.1f} in the last")
    return found + _lost(samples)


def _lost(samples: Sequence[Sample]) -> list[str]:
    lost = sum(sample.lost for sample in samples)
    return [f"the bystanders lost {lost} messages"] if lost else []


def faults_of(samples: Sequence[Sample], minutes: float) -> list[str]:
    """The faults of a soak of so many minutes, from its samples."""
    if len(samples) < QUARTERS:
        return ["too short"]
    return unsteady(samples) if minutes >= JUDGED_FROM else _lost(samples)


class Calls:
    """Rooms that meet, call and leave; raises `Void` if a message is not the expected one."""

    def __init__(self, port: int) -> None:
        self.pool = Pool(port, bare=False)
        self.rooms: deque[list[Client]] = deque()
        self.relayed = 0

    def turn(self, most: int = ROOMS) -> None:
        """One room comes, and the oldest goes if there are too many."""
        (room,) = self.pool.open_groups(1, ROOM, join=True)
        self.rooms.append(room)
        self._call(room)
        while len(self.rooms) > most:
            self._leave(self.rooms.popleft())

    def end(self) -> None:
        while self.rooms:
            self._leave(self.rooms.popleft())

    def _leave(self, room: list[Client]) -> None:
        while room:
            wave(self.pool, [room])

    def _call(self, room: list[Client]) -> None:
        owed: dict[int, list[deque[bytes]]] = {client.fd: [] for client in room}
        for source in room:
            for target in room:
                if target is not source:
                    sizes = (4096, *(300 + number for number in range(CANDIDATES)))
                    sent = [wire.envelope(source.sid, target.sid, size) for size in sizes]
                    owed[target.fd].append(deque(sent))
                    source.socket.setblocking(True)
                    source.socket.sendall(b"".join(map(wire.client_frame, sent)))
                    source.socket.setblocking(False)
        left = ROOM * (ROOM - 1) * (1 + CANDIDATES)
        self.relayed += left
        while left:
            events = self.pool.epoll.poll(SILENCE)
            if not events:
                raise Void(f"{left} messages of a call were lost")
            for fd, _ in events:
                for message in self.pool.messages(fd):
                    # In order from each of the others; who of them is first, is open.
                    queues = [each for each in owed.get(fd, ()) if each and each[0] == message]
                    if not queues:
                        raise Void(f"an unexpected {message[:120]!r}")
                    queues[0].popleft()
                    left -= 1


class Attackers:
    """A new attacker every second, and what happened to each."""

    def __init__(self, port: int, victims: Sequence[str], kinds: Sequence[Attack]) -> None:
        self.port = port
        self.kinds = kinds
        self.victims = victims
        self.fates: Counter[str] = Counter()
        self._next = cycle(kinds)
        self._threads: list[threading.Thread] = []

    def attack(self) -> None:
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(threading.Thread(target=self._attack, args=(next(self._next),)))
        self._threads[-1].daemon = True
        self._threads[-1].start()

    @property
    def busy(self) -> bool:
        return any(each.is_alive() for each in self._threads)

    def end(self) -> None:
        for thread in self._threads:
            thread.join()

    def _attack(self, attack: Attack) -> None:
        with Scene(
            self.port, self.victims, notice=5, patience=5, quiet=8, silence=25
        ) as scene:
            try:
                fate = str(attack.run(scene))
            except (AssertionError, OSError, EOFError) as error:
                fate = f"{type(error).__name__}: {error}"[:80]
        self.fates[f"{attack.title}: {fate}"] += 1


class Soak:
    """One server, its clients, and the samples."""

    def __init__(self, server: Running, stack: ExitStack, kinds: Sequence[Attack]) -> None:
        self.server = server
        self.pid: int = server.get_json("/census")["pid"]
        self.bystanders = Bystanders(server.port)
        stack.callback(self.bystanders.stop)
        self.calls = Calls(server.port)
        self.attackers = Attackers(server.port, self.bystanders.sids, kinds)
        self.faults: list[str] = []
        self._cpu = (0.0, 0)
        self._before = self._held()

    def _held(self) -> dict[str, int]:
        census = self.server.get_json("/census")
        if census["pid"] != self.pid:
            raise Void("the server has died")
        descriptors = sum(len(os.listdir(f"/proc/{each}/fd")) for each in tree(self.pid))
        return {"descriptors": descriptors, "greenlets": census["greenlets"]}

    def warm_up(self) -> None:
        """Makes the process load what it needs, with all rooms and two of every attacker."""
        for _ in range(2 * len(self.attackers.kinds)):
            self.attackers.attack()
            self.calls.turn()
            self.calls.pool.serve(0.1)
        while self.attackers.busy:
            self.calls.pool.serve(0.1)  # who is in a call answers pings meanwhile
        self.attackers.fates.clear()
        self.bystanders.report()

    def run(self, seconds: float, every: float) -> Iterator[Sample]:
        """Takes samples while the clients go on."""
        began = time.monotonic()
        self._cpu = (began, cpu_ns(self.pid))
        due: dict[Callable[[], None] | None, float] = {
            self.calls.turn: began, self.attackers.attack: began, None: began + every,
        }  # fmt: skip
        pauses = {self.calls.turn: 1 / PER_SECOND, self.attackers.attack: 1.0, None: every}
        while (now := time.monotonic()) < began + seconds:
            task = min(due, key=due.__getitem__)
            if due[task] > now:
                self.calls.pool.serve(min(due[task], began + seconds) - now)
                continue
            due[task] = max(due[task] + pauses[task], now)  # what came late is not made up for
            if task is None:
                yield self._look(now - began)
            else:
                task()

    def end(self) -> None:
        """Lets all clients leave; then the server may hold nothing of them."""
        self.calls.end()
        self.attackers.end()
        self.server.eventually("/stats", lambda stats: stats["connections"] == 2)
        until = time.monotonic() + LEFT
        while (held := self._held()) and any(
            held[what] > self._before[what] + TOLERANCES[what][1] for what in held
        ):
            if time.monotonic() > until:
                self.faults.append(f"left at the end: {held}; at the start: {self._before}")
                return
            time.sleep(0.5)

    def look_at_log(self) -> None:
        others = [each for each in complaints(self.server.log()) if not TOLD.search(each)]
        self.faults += [f"the log has {len(others)} complaints: {others[0]}"] if others else []

    def _look(self, seconds: float) -> Sample:
        report = self.bystanders.report()
        # Attackers come to the bystanders' room and leave it; nothing else may reach them.
        strange = [each for each in report["strange"] if "#rtcio:peer-left" not in each]
        if strange or report["cut"] is not None:
            self.faults.append(f"after {seconds:.0f} s: {report['cut'] or strange[0]}")
        held, stats = self._held(), self.server.get_json("/stats")
        status = Path(f"/proc/{self.pid}/status").read_text()
        rss, own = (
            int(status.partition(f"{figure}:")[2].split()[0]) * 1024 / 1e6
            for figure in ("VmRSS", "RssAnon")
        )
        before, now = self._cpu, (time.monotonic(), cpu_ns(self.pid))
        self._cpu = now
        return Sample(
            seconds=round(seconds, 2),
            rss_mb=round(rss, 3),
            own_mb=round(own, 3),
            pss_mb=round(memory_bytes(self.pid) / 1e6, 3),
            **held,
            connections=stats["connections"],
            rooms=stats["rooms"],
            relayed=stats["relayed"],
            cpu_percent=round((now[1] - before[1]) / (now[0] - before[0]) / 1e7, 2),
            p99_ms=report["p99_ms"] or 0.0,
            lost=report["lost"],
        )


def soak(minutes: float, way: str) -> dict[str, Any]:
    """Runs the soak; ``faults`` of the result is empty if nothing grew and nothing was lost."""
    seconds = minutes * 60
    samples: list[Sample] = []
    with ExitStack() as stack:
        server = stack.enter_context(running(way, "soaked", clean_log=False))
        course = Soak(server, stack, BRIEF if minutes < JUDGED_FROM else BRIEF + SLOW)
        try:
            course.warm_up()
            for sample in course.run(seconds, min(5.0, seconds / 48)):
                samples.append(sample)
                print(_line(sample), file=sys.stderr, flush=True)
            course.end()
            course.look_at_log()
        except (Void, AssertionError, OSError) as error:
            course.faults.append(f"{type(error).__name__}: {error}")
        faults = course.faults + faults_of(samples, minutes)
    return {
        "way": way,
        "minutes": minutes,
        "faults": faults,
        "calls_relayed": course.calls.relayed,
        "attackers": dict(sorted(course.attackers.fates.items())),
        "samples": [asdict(sample) for sample in samples],
    }


def _line(sample: Sample) -> str:
    return (
        f"{sample.seconds:7.1f} s  {sample.rss_mb:.1f} MB, own {sample.own_mb:.1f}  "
        f"{sample.greenlets} greenlets  {sample.descriptors} descriptors  "
        f"{sample.connections} connections  {sample.cpu_percent:.1f} % CPU  p99 {sample.p99_ms} ms"
    )


def write(result: dict[str, Any], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    name = "soak" if result["way"] == "listen" else f"soak-{result['way']}"
    document = {"about": about(module="benchmarks.soak"), **result}
    (output / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    samples = result["samples"]
    panels = {
        "resident memory, MB": [each["rss_mb"] for each in samples],
        "of it its own alone, MB": [each["own_mb"] for each in samples],
        "greenlets": [each["greenlets"] for each in samples],
        "open descriptors": [each["descriptors"] for each in samples],
        "connections": [each["connections"] for each in samples],
        "bystanders' p99, ms": [each["p99_ms"] for each in samples],
    }
    title = f"{result['minutes']:g} minutes of calls on {result['way']}, an attacker every second"
    (output / f"{name}.svg").write_text(lines(title, [each["seconds"] for each in samples], panels))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--way", choices=("listen", "gunicorn-gevent"), default="listen")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a directory")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends with us
    result = soak(options.minutes, options.way)
    write(result, options.output)
    for fate, count in result["attackers"].items():
        print(f"{count:6} x {fate}")
    for fault in result["faults"]:
        print(f"NOT STEADY: {fault}")
    print(f"{result['calls_relayed']:,} messages of calls, {len(result['samples'])} samples")
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
