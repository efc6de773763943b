"""Attacks on every server: what each attack costs the server and two bystanders.

``python -m benchmarks --figures attacks``. The attackers and bystanders are those of the tests
(`tests.integration`). Nothing is asserted here; the results are shown. Each attack has a new
process of each server, which reads some large messages first. An attacker that the server does not
end is stopped after `PATIENCE` seconds, and the cell says so. When the attacker has gone, the
server has `LEAVING` seconds to forget it; what it then holds in addition counts as left.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.accounting import tree
from benchmarks.contestants import Contestant, Server
from tests.integration.attacks import ATTACKS, Scene
from tests.integration.bystanders import Bystanders
from tests.integration.hostile import STAYS, Hostile
from tests.integration.redis_server import redis_server

SERVERS = ("listen", "gunicorn", "node", "plain-gw")
NOBODY = "nobody"  # a row for comparison
WATCHED = 2.0  # seconds that an attack is watched at least
NOTICE = 3.0  # seconds that a server has to notice an attacker
PUSHED = 20.0  # seconds that an attacker goes on to send data that the server does not take
FLOOD = 12.0  # seconds that a flood of events lasts, unless it is stopped
PATIENCE = 120.0  # seconds after which an attacker is stopped
SILENCE = 50.0  # seconds after which each server has noticed a silent peer
LEAVING = 60.0  # seconds after the attacker's end in which the server has to forget it
LATER = "Rows of other dates"
_MARKS = ("<!-- attacks -->", "<!-- /attacks -->")  # around the table of the guide
WARM_UP = f'42["nothing","{"x" * 900_000}"]'


@dataclass(frozen=True)
class Harm:
    """One cell of the table.

    ``attacker``: what happened to it. ``megabytes``: the highest growth of the resident set, `None`
    if the process has ended. ``relayed``, ``lost``, ``p99_ms``, ``cut``: the bystanders' messages.
    ``reached``: messages that they received and neither of them sent. ``log_bytes``: the size of
    the server's log. ``left``: what it still holds when the attacker has gone, by name;
    ``megabytes_after``: the growth of its resident set then.
    """

    attack: str
    server: str
    attacker: str
    megabytes: float | None
    relayed: int
    lost: int
    p99_ms: float | None
    reached: int
    cut: str | None
    log_bytes: int
    left: dict[str, int]
    megabytes_after: float | None

    def __str__(self) -> str:
        told = [self.attacker]
        if self.reached:
            told.append(f"**reaches others {self.reached} times**")
        told.append("**the server is gone**" if self.megabytes is None else _rise(self.megabytes))
        told.append(f"**{self.lost:,} lost**" if self.lost else "0 lost")
        if self.cut is not None:
            told.append("**others are cut off**")
        if self.p99_ms is not None:
            told.append(f"{self.p99_ms:,.0f} ms" if self.p99_ms >= 10 else f"{self.p99_ms:.1f} ms")
        if self.log_bytes:
            told.append(_log(self.log_bytes))
        if self.megabytes is not None:
            told.append(_left(self.left))
        return "; ".join(told)


def _rise(megabytes: float) -> str:
    return f"**+{megabytes:.0f} MB**" if megabytes >= 32 else f"+{megabytes:.1f} MB"


def _log(size: int) -> str:
    return f"**{size / 1000:,.0f} kB of log**" if size >= 10_000 else f"{size / 1000:.1f} kB of log"


def _left(left: dict[str, int]) -> str:
    if not left:
        return "nothing left"
    return f"**left: {', '.join(f'{number} {name}' for name, number in left.items())}**"


def _needs(attack: str) -> frozenset[str]:
    return frozenset() if attack == NOBODY else ATTACKS[attack].needs


def title(attack: str) -> str:
    return "nobody attacks" if attack == NOBODY else ATTACKS[attack].title


def attack_all(
    contestants: Iterable[Contestant],
    attacks: Iterable[str],
    scratch: Path,
    say: Callable[[str], None],
) -> list[Harm]:
    """Runs every attack on every comparable server, one after the other."""
    scratch.mkdir(parents=True, exist_ok=True)
    found = []
    for attack in attacks:
        say(title(attack))
        for contestant in contestants:
            if contestant.name in SERVERS and _needs(attack) <= contestant.offers:
                found.append(attack_one(contestant, attack, scratch))
                say(f"  {contestant.name}: {found[-1]}")
    return found


def attack_one(contestant: Contestant, attack: str, scratch: Path) -> Harm:
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[:2] if len(cores) > 1 else (None, None)
    environ = {"ATTACKED": "on", **{need.upper(): "on" for need in _needs(attack)}}
    descriptors = None if attack == NOBODY else ATTACKS[attack].descriptors
    log = scratch / f"{contestant.name}.log"
    with ExitStack() as stack:
        if "REDIS" in environ:
            environ["REDIS"] = stack.enter_context(redis_server())
        server = stack.enter_context(
            Server(contestant, log, server_core, environ=environ, descriptors=descriptors)
        )
        bystanders = Bystanders(server.port, core=load_core)
        try:
            _warm_up(server.port)
            before = _held(server)
            logged = log.stat().st_size
            bystanders.report()
            memory = _Memory(server.pid)
            attacker, sid, report = _attack(
                attack, server.port, bystanders, load_core, environ.get("REDIS")
            )
            rise = memory.rise() if server.process.poll() is None else None
            left = _left_of(server, before)
            # Who was in their room and has left is said to have.
            own = f'"#rtcio:peer-left",{{"id":"{sid}"}}' if attacker != str(STAYS) else "never"
            return Harm(
                attack,
                contestant.name,
                attacker,
                rise,
                report["relayed"],
                report["lost"],
                report["p99_ms"],
                sum(own not in each for each in report["strange"]),
                report["cut"],
                log.stat().st_size - logged,
                left,
                memory.more() if server.process.poll() is None else None,
            )
        finally:
            bystanders.stop()


def _warm_up(port: int) -> None:
    """Makes a process load what it needs for its first messages and polling requests."""
    with suppress(AssertionError, OSError), Hostile(port) as warming_up:
        warming_up.join()
        for _ in range(3):
            warming_up.say(WARM_UP)
        warming_up.say('42["say","lair",1]', '4299["join","lair"]')
        warming_up.until("4399[")


def _held(server: Server) -> dict[str, int]:
    """What a server holds, by its own count and the kernel's, without the asking client."""
    with Hostile(server.port) as asking:
        asking.join()
        asking.say('4297["census"]')
        held: dict[str, int] = json.loads(asking.until("4397[")[4:])[0]
    time.sleep(0.2)  # whoever asked has gone by then
    descriptors = sum(len(os.listdir(f"/proc/{each}/fd")) for each in tree(server.pid))
    return {**held, "descriptors": descriptors}


def _left_of(server: Server, before: dict[str, int]) -> dict[str, int]:
    """How much more it holds than before, after it had time to forget."""
    end = time.monotonic() + LEAVING
    more: dict[str, int] = {}
    while True:
        with suppress(AssertionError, OSError):  # it is gone, or serves nobody
            held = _held(server)
            more = {name: held[name] - before[name] for name in held if held[name] > before[name]}
            if not more:
                return more
        if time.monotonic() > end or server.process.poll() is not None:
            return more
        time.sleep(0.5)


def _attack(
    attack: str, port: int, bystanders: Bystanders, core: int | None, redis: str | None
) -> tuple[str, str, dict[str, Any]]:
    """What happened to the attacker, its sid, and the bystanders' report from before its end."""
    began = time.monotonic()
    if attack == NOBODY:
        time.sleep(WATCHED)
        return "-", "", bystanders.report()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_attacker, args=(theirs, attack, port, bystanders.sids, core, redis), daemon=True
    )
    process.start()
    theirs.close()
    try:
        ended, sid = "still at it", ""
        if ours.poll(PATIENCE):
            with suppress(EOFError):
                ended, sid = ours.recv()
        time.sleep(max(0.0, began + WATCHED - time.monotonic()))
        return ended, sid, bystanders.report()
    finally:
        process.kill()
        process.join()
        ours.close()


def _attacker(
    told: Connection,
    attack: str,
    port: int,
    victims: list[str],
    core: int | None,
    redis: str | None,
) -> None:
    """A separate process with a lower priority than the bystanders; it runs until it is killed."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    os.nice(10)
    with Scene(
        port, victims, notice=NOTICE, patience=PUSHED, flood=FLOOD, silence=SILENCE, redis=redis
    ) as scene:
        try:
            ended = str(ATTACKS[attack].run(scene))
        except (AssertionError, OSError, EOFError) as error:
            ended = "no answer" if isinstance(error, TimeoutError) else f"{error}"[:40] or "closed"
        told.send((ended, scene.sid))
        time.sleep(PATIENCE)


class _Memory:
    """Resident sets of a server's processes: now, and the highest value from now on."""

    def __init__(self, pid: int) -> None:
        self._before = {}
        for each in tree(pid):
            Path(f"/proc/{each}/clear_refs").write_text("5")
            self._before[each] = self._read(each, "VmRSS:")

    def rise(self) -> float:
        """The highest growth in megabytes, of the processes that existed and still exist."""
        return self._since("VmHWM:")

    def more(self) -> float:
        """The growth in megabytes now."""
        return self._since("VmRSS:")

    def _since(self, figure: str) -> float:
        rises = 0
        for each, before in self._before.items():
            with suppress(FileNotFoundError):
                rises += self._read(each, figure) - before
        return max(0, rises) / 1e6

    def _read(self, pid: int, figure: str) -> int:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(figure):
                return int(line.split()[1]) * 1024
        raise FileNotFoundError(figure)


def with_earlier(harms: list[Harm], output: Path) -> list[Harm]:
    """These cells among those that an earlier run has written, in the order of the table."""
    path = output / "attacks.json"
    earlier = json.loads(path.read_text())["cells"] if path.exists() else []
    cells = {(each.attack, each.server): each for each in (*(Harm(**it) for it in earlier), *harms)}
    order = [NOBODY, *ATTACKS]
    return sorted(
        (each for each in cells.values() if each.attack in order),
        key=lambda each: (order.index(each.attack), SERVERS.index(each.server)),
    )


def about_with_earlier(
    about: dict[str, object], rows: Iterable[str], output: Path
) -> dict[str, object]:
    """The earlier run's description, and when each of the rows was measured that came later."""
    path = output / "attacks.json"
    if not path.exists():
        return about
    earlier: dict[str, Any] = json.loads(path.read_text())["about"]
    later = earlier.get(LATER, {}) | dict.fromkeys(map(title, rows), about["Date"])
    return earlier | {LATER: later}


def table(harms: list[Harm], contestants: Iterable[Contestant]) -> str:
    """A row for each attack, a column for each server."""
    cells = {(harm.attack, harm.server): harm for harm in harms}
    columns = [each for each in contestants if any(each.name == harm.server for harm in harms)]
    head = ["attack", *(each.title for each in columns)]
    body = [
        [title(attack), *(str(cells.get((attack, each.name), "-")) for each in columns)]
        for attack in dict.fromkeys(harm.attack for harm in harms)
    ]
    return "\n".join(f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *body))


def notes(about: dict[str, object]) -> str:
    return "\n".join((
        "Each cell: what became of the attacker; how much the server's memory rose; how many of "
        "two bystanders' messages were lost; how long 99 % of them took at most, from when they "
        "were due; what the server wrote into its log, if anything; what it still held "
        f"{LEAVING:.0f} seconds after the attacker had gone.",
        "",
        *(f"{key}: {_said(value)}  " for key, value in about.items()),
    ))  # fmt: skip


def _said(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "; ".join(f"{key} ({each})" for key, each in value.items())


def write_into_guide(harms: list[Harm], contestants: Iterable[Contestant], page: Path) -> None:
    """Replaces the table in the guide, and its date."""
    text = page.read_text()
    start, end = text.index(_MARKS[0]) + len(_MARKS[0]), text.index(_MARKS[1])
    text = f"{text[:start]}\n{table(harms, contestants)}\n{text[end:]}"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    page.write_text(re.sub(r"(--figures attacks`, )\d{4}-\d\d-\d\d", rf"\g<1>{today}", text))


def write(
    harms: list[Harm], contestants: Iterable[Contestant], about: dict[str, object], output: Path
) -> str:
    """Writes ``attacks.json`` and ``attacks.md``; returns the table."""
    text = f"{table(harms, contestants)}\n\n{notes(about)}"
    output.mkdir(parents=True, exist_ok=True)
    (output / "attacks.md").write_text(text + "\n")
    document = {"about": about, "cells": [asdict(harm) for harm in harms]}
    (output / "attacks.json").write_text(json.dumps(document, indent=1) + "\n")
    return text
