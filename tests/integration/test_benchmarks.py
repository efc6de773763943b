"""The benchmark commands, end to end on figures of a moment; and that they cannot flatter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as program
from benchmarks import clients, hosts, scenarios, soak, traffic
from benchmarks.contestants import CONTESTANTS, Contestant, Server, with_hosts
from benchmarks.driver import Rota
from benchmarks.subject import Scale, Subject

# Each starts several servers, one after the other.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
MOMENT = {
    "turns": 1,
    "first_cpu_seconds": 0.02,
    "warm_up_cpu_seconds": 0.02,
    "cpu_seconds": 0.02,
    "relay_sizes": [300],
    "relay_in_flight": [[4, 1], [1, 4]],
}

# Like the floor, but every 50th message fares as `spoil` says.
SPOILING = """
import socket, sys, threading
spoil = eval(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(listener.getsockname()[1], flush=True)
groups, count = {}, 0
def serve(member):
    global count
    name = member.recv(65536)
    group = groups.setdefault(name, [])
    group.append(member)
    member.sendall(name)
    while data := member.recv(65536):
        count += 1
        if count % 50 == 0:
            data = spoil(data)
        for other in group:
            if other is not member:
                other.sendall(data)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


# The server of the recovery figure, but every 20th session that comes back fares as `spoil` says.
SPOILING_RETURNS = """
import sys
from rtcio_sync.adapter.session_log import Session
spoil, missed, returns, before = eval(sys.argv[2]), Session.missed, {}, [[b""]]
def spoiled(session, offset):
    frames = missed(session, offset)
    # Asked for at each return of a session, and more than once.
    if offset is not None and returns.setdefault(session, len(returns)) % 20 == 19:
        frames = spoil(frames)
    elif frames:
        before.append(frames)
    return frames
Session.missed = spoiled
from benchmarks.servers.rtcio_app import server
server.listen(int(sys.argv[1]), "127.0.0.1")
"""


# python-socketio with a relay whose every 50th message fares as `spoil` says: it returns the
# envelopes that go out.
SPOILING_CALLS = """
from gevent import monkey
monkey.patch_all()
import sys
import socketio
from gevent import pywsgi
from geventwebsocket.handler import WebSocketHandler
from benchmarks.servers.room_app import add_handlers
server = socketio.Server(async_mode="gevent", async_handlers=False)
add_handlers(server)
spoil, before = eval(sys.argv[2]), []
@server.on("#rtcio:message")
def relay(sid, envelope):
    before.append(envelope)
    for each in spoil(envelope) if len(before) % 50 == 0 else [envelope]:
        server.emit("#rtcio:message", each, to=each["target"])
pywsgi.WSGIServer(
    ("127.0.0.1", int(sys.argv[1])), socketio.WSGIApp(server), log=None,
    handler_class=WebSocketHandler,
).serve_forever()
"""


@contextmanager
def spoiling_server(spoil: str) -> Iterator[Subject]:
    command = [sys.executable, "-c", SPOILING, spoil]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield Subject("spoiling", port, process.pid, bare=True)
        finally:
            process.kill()


def finished(command: list[str], output: Path) -> subprocess.CompletedProcess[str]:
    """What a command said that has written its results there, and ended well."""
    done = subprocess.run(
        [*command, "--output", str(output)],
        cwd=ROOT, capture_output=True, text=True, timeout=350, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_command_measures_two_servers_and_writes_table_json_and_plot(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "relay", "--servers", "listen", "floor"),
        *("--rounds", "1", "--scale", json.dumps(MOMENT)),
    ]
    done = finished(command, tmp_path)
    assert "| relay, 300 B, 4 pairs with 1 in flight | µs CPU |" in done.stdout
    assert (tmp_path / "table.md").read_text().strip() == done.stdout.strip()

    figures = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    assert [figure["figure"] for figure in figures] == ["relay-300-4x1", "relay-300-1x4"]
    for figure in figures:
        median = figure["median"]
        assert 0.0 < median["floor"] < median["listen"] * 100
        ratio = median["listen"] / median["floor"]
        assert figure["times_floor"] == {"listen": ratio, "floor": None}

    plot = ElementTree.parse(tmp_path / "relay.svg")
    assert len(plot.findall(".//{http://www.w3.org/2000/svg}rect")) == 4


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "."),
        (["--figures", "fanout"], "."),
        (["--servers", "listen", "node"], "tmp/some"),
        (["--servers", "listen", "node", "--check"], "tmp/compared"),
        (["--servers", "listen", "--output", "elsewhere"], "elsewhere"),
    ],
)
def test_only_a_run_of_all_servers_changes_the_documents(arguments: list[str], folder: str) -> None:
    options = program._parser().parse_args(arguments)
    at = options.output or program._output(options)
    assert at in (program.RESULTS / folder, Path(folder))


def test_a_connection_costs_the_same_from_two_trees_of_the_same_source(tmp_path: Path) -> None:
    scale = {"warm_lives": 40, "lives": 20, "turns": 2}
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "connect", "--rounds", "1"),
        *("--servers", "listen", "node", "--against", str(ROOT), "--scale", json.dumps(scale)),
    ]
    done = finished(command, tmp_path)
    comparison = done.stdout.partition("| figure | server | unit | before | now |")[2]
    for way in ("WebSocket", "polling, then upgrade"):
        row = rf"^\| connect, join, close; {way} \| listen \| µs CPU \|.*\*\*([0-9.]+)\*\*"
        (ratio,) = re.findall(row, comparison, re.M)
        assert 0.1 < float(ratio) < 10.0
    figures = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    assert [figure["figure"] for figure in figures] == ["connect-websocket", "connect-upgrade"]
    for figure in figures:
        assert {name: len(turns) for name, turns in figure["turns"].items()} == {
            "listen": 2, "listen-before": 2, "node": 2
        }  # fmt: skip


def checked(folder: Path, *servers: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--figures", "fanout", "--rounds", "1"),
            *("--servers", *servers, "--check", str(folder), "--output", str(folder / "new")),
            *("--scale", json.dumps(MOMENT | {"fanout_rooms": [4]})),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=350, check=False,
    )  # fmt: skip


def test_a_figure_that_got_worse_than_the_committed_one_is_named(tmp_path: Path) -> None:
    def commit(listen: float, figure: str = "fanout-4") -> None:
        turns = {"listen": [listen], "node": [1.0]}
        document = {"runs": [], "figures": [{"figure": figure, "turns": turns}]}
        (tmp_path / "benchmarks.json").write_text(json.dumps(document))

    commit(listen=100.0)
    done = checked(tmp_path, "listen", "node")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "0 of 1 compared figures are worse"
    assert (tmp_path / "new/benchmarks.json").exists()

    commit(listen=0.001)
    done = checked(tmp_path, "listen", "node")
    assert done.returncode == 1
    *_, named, last = done.stdout.splitlines()
    assert named.startswith("worse: fan-out to a room of 4, per recipient, listen: 0.001 to ")
    assert last == "1 of 1 compared figures are worse"

    commit(listen=100.0, figure="fanout-8")
    done = checked(tmp_path, "listen", "node")
    assert done.returncode == 1  # nothing was compared
    assert done.stdout.splitlines()[-1] == "0 of 0 compared figures are worse"

    done = checked(tmp_path, "listen")
    assert done.returncode == 2
    assert "name it among --servers" in done.stderr


def test_a_tree_to_compare_with_must_be_one_of_this_project(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--against", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{tmp_path} is no source tree of rtcio_sync" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("lambda data: b''", "messages were lost"),
        ("lambda data: b'x' + data[1:]", "was not sent"),
        ("lambda data: data[:-1]", "messages were lost"),
        ("lambda data: data * 2", "more came than was sent"),
    ],
    ids=["lost", "altered", "cut", "doubled"],
)
def test_a_server_that_spoils_one_message_gets_no_figure(
    spoil: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "messages were lost":
        monkeypatch.setattr(traffic, "SILENCE", 0.5)  # seconds
    with spoiling_server(spoil) as subject:
        rota = Rota(scenarios.relay, [(subject, Scale(**MOMENT))])
        rota.run()
    assert rota.samples == {}
    assert reason in rota.voids["spoiling"]


def test_the_figure_of_a_call_is_of_socketio_clients_that_heard_each_other(tmp_path: Path) -> None:
    scale = {"warm_lives": 40, "warm_rooms": 10, "rooms": 2, "turns": 1}
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "call", "--rounds", "1"),
        *("--servers", "listen", "node", "--scale", json.dumps(scale)),
    ]
    done = finished(command, tmp_path)
    for way in ("default transports", "WebSocket alone"):
        assert f"| a participant's call; {way} | µs CPU |" in done.stdout
    figures = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    assert [figure["figure"] for figure in figures] == ["call-default", "call-websocket"]
    for figure in figures:
        assert figure["median"].keys() == {"listen", "node"}
        assert min(figure["median"].values()) > 100.0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("lambda envelope: [envelope]", None),
        ("lambda envelope: []", "relays are missing|an unexpected"),
        ("lambda envelope: [envelope, envelope]", "an unexpected"),
        ("lambda envelope: [before[-2], envelope]", "an unexpected"),
        ("lambda envelope: [dict(envelope, data='x')]", "an unexpected"),
    ],
    ids=["none", "lost", "doubled", "another's", "altered"],
)
def test_a_server_that_spoils_one_relay_of_a_call_gets_no_figure(
    spoil: str, reason: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reason is not None:
        monkeypatch.setattr(clients, "PATIENCE", 5.0)  # seconds
    program = tmp_path / "spoiling.py"
    program.write_text(SPOILING_CALLS)
    command = ("{python}", str(program), "{port}", spoil)
    with Server(Contestant("spoiling", "spoiling", command), tmp_path / "log", None) as server:
        subject = Subject("spoiling", server.port, server.pid, bare=False)
        scale = Scale(warm_lives=10, warm_rooms=0, rooms=1, turns=1)
        rota = Rota(scenarios.call, [(subject, scale)])
        rota.run()
    if reason is None:
        assert rota.voids == {} and rota.samples["spoiling"].keys() == {
            "call-default", "call-websocket"
        }  # fmt: skip
    else:
        assert rota.samples == {}
        assert re.search(reason, rota.voids["spoiling"])


def test_the_recovery_figure_is_of_sessions_that_came_back(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "recovery", "--rounds", "1"),
        *("--servers", "listen", "gunicorn", "node"),
        *("--scale", json.dumps({"recoveries": 120})),
    ]
    done = finished(command, tmp_path)
    assert "| 120 sessions lost and recovered at once, per session | µs CPU |" in done.stdout
    figures = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    assert [figure["figure"] for figure in figures] == [
        *(f"recovery-cpu-120-{part}" for part in ("both", "loss", "return", "emit")),
        *(f"recovery-memory-120-{stage}" for stage in ("before", "away", "after")),
    ]
    for figure in figures:
        assert figure["median"].keys() == {"listen", "gunicorn", "node"}
        assert figure["median"]["node"] > 0.0
        assert figure["times_node"].keys() == {"listen", "gunicorn", "node"}
    both, loss, back = (figure["median"]["listen"] for figure in figures[:3])
    assert both == pytest.approx(loss + back)
    assert (tmp_path / "recovery.svg").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("lambda frames: frames", None),
        ("lambda frames: None", "came back as"),
        ("lambda frames: frames[:-1]", "timed out"),
        ("lambda frames: frames + frames[-1:]", "more came than was sent|unexpected"),
        ("lambda frames: frames[::-1]", "got what is not theirs"),
        ("lambda frames: before[-1]", "got what is not theirs"),
    ],
    ids=["none", "forgotten", "lost", "doubled", "disordered", "another's"],
)
def test_a_server_that_mixes_up_one_session_gets_no_figure(
    spoil: str, reason: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reason == "timed out":
        monkeypatch.setattr(clients, "PATIENCE", 2.0)  # seconds
    program = tmp_path / "spoiling.py"
    program.write_text(SPOILING_RETURNS)
    command = ("env", f"PYTHONPATH={ROOT}", "{python}", str(program), "{port}", spoil)
    contestant = Contestant("spoiling", "spoiling", command)
    with Server(contestant, tmp_path / "log", None, recovery=True) as server:
        subject = Subject("spoiling", server.port, server.pid, bare=False)
        rota = Rota(scenarios.recovery, [(subject, Scale(recoveries=36))])
        rota.run()
    if reason is None:
        assert rota.voids == {} and rota.samples["spoiling"]
    else:
        assert rota.samples == {}
        assert re.search(reason, rota.voids["spoiling"])


def test_the_figure_of_a_storm_is_of_clients_that_all_got_through(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "storm", "--rounds", "1"),
        *("--servers", "listen", "gunicorn", "node"),
        *("--scale", json.dumps({"storm": 40})),
    ]
    done = finished(command, tmp_path)
    assert "| 40 clients within 2 s, until all have joined | s |" in done.stdout
    figures = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    kinds = ("joined", "cpu", "p99", "most")
    assert [figure["figure"] for figure in figures] == [f"storm-40-{kind}" for kind in kinds]
    for figure in figures:
        assert figure["median"].keys() == {"listen", "gunicorn", "node"}
    assert figures[0]["median"]["listen"] > 1.9, "the last one comes after two seconds"


# The server of the benchmarks, with room for a few clients only.
FULL = """
import sys
from benchmarks.servers import rtcio_listen
rtcio_listen.server.eio.max_connections = 110
rtcio_listen.server.listen(int(sys.argv[1]), "127.0.0.1")
"""


def test_a_server_that_refuses_one_client_of_a_storm_gets_no_figure(tmp_path: Path) -> None:
    contestant = Contestant("full", "full", ("{python}", "-c", FULL, "{port}"))
    with Server(contestant, tmp_path / "log", None) as server:
        subject = Subject("full", server.port, server.pid, bare=False)
        rota = Rota(scenarios.storm, [(subject, Scale(storm=100))])
        rota.run()
    assert rota.samples == {}
    assert "a request was refused" in rota.voids["full"]
    assert "503" in rota.voids["full"]


def test_many_clients_on_several_servers_are_counted_by_server(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "benchmarks.many", "--servers", "listen", "--processes", "2"),
        *("--clients", "32", "--seconds", "1"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "| clients | 16.00 | 16.00 |" in done.stdout
    assert "| relays/s | 4.00 | 4.00 |" in done.stdout


def test_the_attacks_are_shown_side_by_side(tmp_path: Path) -> None:
    attacks = ("frame_of_a_tebibyte", "room_as_target")
    command = [
        *(sys.executable, "-m", "benchmarks", "--figures", "attacks", "--attacks", *attacks),
        *("--servers", "listen", "node", "floor"),
    ]
    done = finished(command, tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "| attack | rtcio_sync, `listen()` | Node socket.io 4.8 |"
    assert [line.split(" | ")[0] for line in lines[2:4]] == [
        "| a frame that declares 2^40 bytes",
        "| a room as target",
    ]
    assert (tmp_path / "attacks.md").read_text().strip() == done.stdout.strip()
    assert not (tmp_path / "table.md").exists()

    cells = json.loads((tmp_path / "attacks.json").read_text())["cells"]
    assert [(cell["attack"], cell["server"]) for cell in cells] == [
        (attack, server) for attack in attacks for server in ("listen", "node")
    ]
    for cell in cells:
        assert cell["relayed"] > 0 and cell["lost"] == 0 and cell["cut"] is None
        assert cell["megabytes"] >= 0 and cell["p99_ms"] > 0
    attackers = [(cell["attacker"], cell["reached"]) for cell in cells]
    # Node's relay of the original sends to whatever room is named: both who are in it hear it.
    assert attackers == [("closed, 1009", 0), ("closed, 1009", 0), ("stays", 0), ("stays", 4)]


def test_a_soak_of_seconds_stays_as_it_is_and_is_plotted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.2"]
    finished(command, tmp_path)
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["faults"] == []
    assert result["calls_relayed"] > 500
    assert sum(result["attackers"].values()) >= 3  # one a second, or fewer on a starved machine
    samples = result["samples"]
    assert len(samples) >= soak.QUARTERS
    assert all(sample["lost"] == 0 for sample in samples)
    assert all(sample["connections"] >= 42 for sample in samples)  # ten rooms of four, and two
    assert samples[-1]["relayed"] > samples[0]["relayed"]
    plot = ElementTree.parse(tmp_path / "soak.svg")
    polylines = plot.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(each.attrib["points"].split()) for each in polylines] == [len(samples)] * 6


def test_a_message_takes_no_more_calls_than_the_page_for_contributors_says() -> None:
    page = (ROOT / "docs/internals.md").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.calls"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=True,
    )
    row = re.compile(r"^\| ([a-z][^|]*) \| ([0-9.]+) \| ([0-9]+) \|$", re.M)
    counted = {name: float(calls) for name, calls, _ in row.findall(done.stdout)}
    said = {name: float(calls) for name, calls, _ in row.findall(page)}
    assert len(counted) == 5 and counted.keys() <= said.keys()
    # The clock's task runs meanwhile, more often on a busy machine.
    over = {name: calls for name, calls in counted.items() if calls > said[name] + 3}
    assert over == {}


@contextmanager
def two_hosts(contestant: Contestant, folder: Path) -> Iterator[Subject]:
    with Server(with_hosts(contestant, 2), folder / "log", None) as server:
        yield Subject("hosts", server.port, server.pid, bare=False, ports=server.ports)


def test_the_figures_of_several_hosts_are_without_what_they_use_at_rest(tmp_path: Path) -> None:
    scale = Scale(**MOMENT, host_seconds=0.2, host_rest=0.5, host_joins=50)
    with two_hosts(CONTESTANTS["listen"], tmp_path) as subject:
        rota = Rota(scenarios.hosts, [(subject, scale)])
        rota.run()
    assert rota.voids == {}
    figures = {name: value for name, (value,) in rota.samples["hosts"].items()}
    costs = ("300", "steady", "spread", "event", "join")
    assert figures.keys() == {
        *(f"hosts-{what}-2" for what in ("idle", "idleredis", "steadyp50", "spreadp50")),
        *(f"hosts-{what}{part}-2" for what in costs for part in ("", "redis")),
    }
    for what in costs[:-1]:  # each message passes Redis
        assert figures[f"hosts-{what}-2"] > figures[f"hosts-{what}redis-2"] > 0.0


def test_hosts_that_do_not_reach_each_other_get_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "PATIENCE", 2.0)  # seconds
    ours = CONTESTANTS["listen"]
    apart = replace(ours, hosts=("env", "RTCIO_CLUSTER=off", *ours.hosts))
    with two_hosts(apart, tmp_path) as subject:
        rota = Rota(scenarios.hosts, [(subject, Scale(**MOMENT))])
        rota.run()
    assert rota.samples == {}
    assert "the hosts do not reach each other" in rota.voids["hosts"]


def test_two_benchmarks_at_once_choose_different_ports(tmp_path: Path) -> None:
    program = """
from benchmarks.contestants import free_port
print(*(free_port() for _ in range(300)), flush=True)
input()
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ,
        )
        for _ in range(3)
    ]  # fmt: skip
    chosen = []
    for process in started:
        assert process.stdout is not None
        chosen += process.stdout.readline().split()
    for process in started:
        process.communicate("\n")
    assert len(chosen) == len(set(chosen)) == 900
