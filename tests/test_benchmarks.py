"""What the benchmarks reckon with: whether a soak was steady, bytes on the wire, ratios."""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks import installing, soak, thousand, wire
from benchmarks.comparing import check, comparison
from benchmarks.contestants import CONTESTANTS, OVER_REDIS, with_hosts, with_workers
from benchmarks.document import Document
from benchmarks.report import page, tables, write
from benchmarks.rows import Row, rows

STEADY = soak.Sample(0.0, 70.0, 60.0, 55.0, 2, 48, 42, 11, 1000, 20.0, 5.0, 0)


@pytest.mark.parametrize(
    ("figure", "by"), [("own_mb", 0.2), ("rss_mb", 0.2), ("greenlets", 0.4), ("descriptors", 0.6)]
)
def test_a_soak_that_grows_is_not_steady(figure: str, by: float) -> None:
    still = [STEADY] * 40
    growing = [
        dataclasses.replace(STEADY, **{figure: getattr(STEADY, figure) + number * by})
        for number in range(40)
    ]
    assert soak.unsteady(still) == []
    (fault,) = soak.unsteady(growing)
    assert fault.startswith(f"{figure}: ")


def test_a_soak_of_seconds_is_not_judged_by_its_ups_and_downs() -> None:
    growing = [dataclasses.replace(STEADY, descriptors=48 + number) for number in range(40)]
    assert soak.faults_of(growing, minutes=soak.JUDGED_FROM) != []
    assert soak.faults_of(growing, minutes=0.2) == []
    lost = [*growing, dataclasses.replace(STEADY, lost=1)]
    assert soak.faults_of(lost, minutes=0.2) == ["the bystanders lost 1 messages"]
    assert soak.faults_of([], minutes=0.2) == ["too short"]


def test_a_soak_that_loses_a_message_is_not_steady() -> None:
    samples = [STEADY] * 40 + [dataclasses.replace(STEADY, lost=1)]
    assert soak.unsteady(samples) == ["the bystanders lost 1 messages"]


def test_a_clients_frame_is_masked_and_holds_the_payload() -> None:
    for length in (0, 5, 125, 126, 65535, 65536):
        payload = bytes(range(256)) * 256 + b"!"
        frame = bytearray(wire.client_frame(payload[:length]))
        assert frame[1] & 0x80
        masked = frame[len(frame) - length :]
        frame[len(frame) - length :] = bytes(
            byte ^ wire.MASK[index % 4] for index, byte in enumerate(masked)
        )
        frame[1] &= 0x7F
        del frame[len(frame) - length - 4 : len(frame) - length]
        assert wire.take_frame(frame) == (wire.FIN | wire.TEXT, payload[:length])
        assert not frame


def test_a_frame_is_taken_only_when_it_is_whole() -> None:
    frame = wire.server_frame(b"x" * 300)
    for length in range(len(frame)):
        assert wire.take_frame(bytearray(frame[:length])) is None


@pytest.mark.parametrize("size", [300, 4096])
def test_an_envelope_has_the_size_that_the_table_says(size: int) -> None:
    message = wire.envelope("s" * 20, "t" * 20, size)
    assert len(message) == size
    event, envelope = json.loads(message[2:])
    assert event == "#rtcio:message"
    assert list(envelope) == ["source", "target", "data"]


def test_ratios_are_to_the_named_server_and_only_where_both_have_the_figure() -> None:
    row = Row("relay-300-1x1", "relay", "µs CPU", {"listen": 5.0, "node": 20.0})
    assert row.ratio("listen", "node") == 0.25
    assert row.ratio("node", "node") is None
    assert row.ratio("listen", "floor") is None


def test_twice_the_disconnects_are_shown_in_terms_of_once() -> None:
    found = rows({"disconnect-50": {"listen": 10.0, "node": 1.0}, "disconnect-100": {"listen": 20}})
    assert found[-1].values == {"listen": 2.0}
    assert found[-1].title == "100 disconnects in terms of 50"


def test_two_trees_are_compared_turn_by_turn() -> None:
    slower_and_slower = {"listen-before": [10.0, 20.0, 40.0], "listen": [11.0, 22.0, 44.0]}
    values = {"connect-websocket": {**slower_and_slower, "node": [1.0, 1.0, 1.0]}}
    *_, line = comparison(values, CONTESTANTS.values()).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("connect, join, close; WebSocket", "listen", "µs CPU"),
        *("20", "22", "**1.100**", "1.100 to 1.100"),
    ]


def test_a_server_without_a_figure_from_both_trees_is_not_compared() -> None:
    for servers in ({"listen": [1.0]}, {"listen": [1.0], "listen-before": [1.0, 1.0]}):
        assert comparison({"relay-300-1x1": servers}, CONTESTANTS.values()).count("\n") == 1


def test_only_what_the_chosen_servers_and_figures_need_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(installing, "_run", lambda *command, **_: ran.append(str(command[0])))
    monkeypatch.setattr(installing, "NODE_PACKAGES", tmp_path)
    made: list[Path] = []
    monkeypatch.setattr(installing, "_environment", lambda python, _: made.append(python))
    ours, node, uvicorn = (CONTESTANTS[name] for name in ("listen", "node", "uvicorn"))
    installing.install([ours], ["hosts"])  # with redis-py, as here
    assert made == []
    installing.install([ours], ["relay"])
    assert ran == [] and made == [installing.USERS]
    installing.install([ours], ["call"])
    installing.install([node], ["relay"])
    assert ran == ["npm", "npm"]
    for package in ("socket.io", "socket.io-client"):
        (tmp_path / package).mkdir()
    installing.install([ours, node], ["call"])
    assert len(ran) == 2

    made.clear()
    installing.install([node, uvicorn], ["relay"])
    assert made == [installing.PEERS]


def test_an_environment_of_servers_is_made_again_when_it_has_to_have_something_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(installing, "_run", lambda *command, **_: ran.append(str(command[0])))
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    both = [sys.executable, str(python)]
    installing._environment(python, "flask==3.0.0\n")
    assert ran == both
    installing._environment(python, "flask==3.0.0\n")
    assert ran == both
    installing._environment(python, "flask==3.1.0\n")
    assert ran == both * 2


def test_our_servers_run_on_what_a_user_of_the_package_has_and_nothing_else() -> None:
    versions = dict(line.split("==") for line in installing._of_users().splitlines())
    versions["gunicorn"] = versions.pop("gunicorn[gevent]")
    assert {"python-socketio", "gevent", "flask"} <= set(versions)
    assert not {"redis", "pytest", "aiohttp", "requests", "msgpack"} & set(versions)
    assert versions == {name: metadata.version(name) for name in versions}


def described(*figures: str, date: str = "2026-01-01") -> dict[str, object]:
    return {"figures": list(figures), "about": {"Date": date}, "void": [], "scale": {}}


def test_a_run_of_some_figures_replaces_only_these(tmp_path: Path) -> None:
    earlier = Document(
        {
            "relay-300-1x1": {"listen": [1.0], "node": [2.0]},
            "memory-5000": {"listen": [3.0], "node": [9.0]},
            "limit-19000": {"listen": [4.0], "node": [8.0]},
        },
        [described("relay", "idle", "limit")],
    )
    write(earlier, tmp_path)
    again = Document({"memory-2000": {"listen": [2.5]}}, [described("idle", date="2026-02-02")])
    both = again.over(Document.read(tmp_path))
    assert list(both.values) == ["relay-300-1x1", "memory-2000", "limit-19000"]
    assert [run["figures"] for run in both.runs] == [["relay", "limit"], ["idle"]]
    write(both, tmp_path)
    assert Document.read(tmp_path) == both
    text = (tmp_path / "table.md").read_text()
    assert text == page(both) + "\n"
    assert "| memory per idle connection at 19,000 | kB | 4 (0.50 / -) | 8 |" in text
    assert text.index("Figures: relay, limit") < text.index("Figures: idle")


def test_what_got_over_five_percent_worse_than_node_is_named() -> None:
    def measured(listen: float, gunicorn: float, node: float) -> list[Row]:
        values = {"listen": listen, "gunicorn": gunicorn, "node": node}
        return [Row("relay-300-1x1", "relay", "µs CPU", values)]

    committed = measured(10.0, 10.0, 20.0)
    ours = ("listen", "gunicorn")
    # A machine that is twice as slow makes nothing worse.
    assert check(measured(20.0, 20.9, 40.0), committed, ours) == (2, [])
    assert check(measured(10.0, 10.6, 20.0), committed, ours) == (
        2, ["worse: relay, gunicorn: 0.500 to 0.530 times Node's, +6%"]
    )  # fmt: skip
    assert check([Row("x", "x", "kB", {"listen": 1.0, "node": 1.0})], committed, ours) == (0, [])


def test_pings_of_engineio_and_of_websockets_are_answered() -> None:
    text, ping = wire.FIN | wire.TEXT, wire.FIN | wire.PING
    assert wire.reply(text, b"2") == wire.client_frame(b"3")
    assert wire.reply(ping, b"abcd") == wire.client_frame(b"abcd", 0xA)
    assert wire.reply(text, b"42[]") is None
    assert wire.reply(wire.FIN | wire.CLOSE, b"") is None


def test_figures_of_several_workers_say_how_many() -> None:
    names = ("workers-300-8", "redis-300-2", "handover-4", "workers-memory-4", "death-longest")
    assert [row.title for row in rows({name: {"node": 1.0} for name in names})] == [
        "relay, 300 B, between two of 8 workers",
        "relay, 300 B, between two of 2 processes over Redis",
        "a polling request on a new connection; workers: 4",
        "memory of each of 4 workers without connections",
        "a worker is killed, until its clients' peers hear of it, longest",
    ]
    over_redis = with_workers(CONTESTANTS["gunicorn"], 8, redis=True).command
    assert over_redis[: len(OVER_REDIS)] == OVER_REDIS
    assert "8" in over_redis and "{workers}" not in over_redis


def test_figures_of_several_hosts_have_a_table_of_their_own_ordered_by_what_is_measured() -> None:
    names = ("hosts-300-2", "hosts-steadyp50-2", "hosts-300-8", "hosts-eventothers-8")
    found = tables(rows({name: {"node": 1.0} for name in ("relay-300-20x1", *names)}))
    assert list(found) == ["figures", "hosts"]
    assert "hosts" not in found["figures"]
    assert [line.split(" | ")[0] for line in found["hosts"].splitlines()[2:]] == [
        "| relay, 300 B, 2 hosts",
        "| relay, 300 B, 8 hosts",
        "| relay at 500/s, 300 B, 2 hosts, latency p50",
        "| event to a room at two hosts, 8 hosts, each of the other hosts",
    ]


def test_each_host_is_a_process_with_a_port_of_its_own() -> None:
    several = with_hosts(CONTESTANTS["listen"], 8)
    assert several.ports == 8
    assert "{ports}" in several.command
    assert several.command[-len(several.hosts) :] == several.hosts


def test_a_line_goes_through_its_points_and_never_falls() -> None:
    line = thousand.fitted({2: 5.0, 8: 8.0, 16: 12.0})
    assert line.at(1000) == pytest.approx(504.0)
    falling = thousand.fitted({2: 5.0, 16: 3.0})
    assert (falling.base, falling.slope) == (4.0, 0.0)
    with pytest.raises(ValueError, match="two points"):
        thousand.fitted({2: 5.0})


def test_the_model_of_many_hosts_adds_up_beats_relays_and_joins() -> None:
    costs = {"spread": 300.0, "spreadredis": 50.0, "join": 30.0, "joinredis": 2.0}
    values = {
        f"hosts-{what}-{hosts}": {"listen": value + (hosts if what == "join" else 0)}
        for what, value in costs.items()
        for hosts in (2, 8, 16)
    }
    beat = thousand.Cost(thousand.Line(400.0, 1.0), thousand.Line(200.0, 2.0))
    made = thousand.model(values, beat)
    # ms CPU/s: 400 + 1,000 µs; 100 relays of 250 µs; a join of 28 + 1,000 µs
    assert made.of_each_host(1000) == pytest.approx([1.4, 25.0, 1.028])
    # cores: 1,000 hosts beat at 200 + 2,000 µs; 100,000 relays of 50 µs; 1,000 joins of 2 µs
    assert made.of_redis(1000) == pytest.approx([2.2, 5.0, 0.002])
    assert sum(made.of_redis(made.most(load=True))) <= thousand.BUSY
    assert sum(made.of_redis(made.most(load=True) + 1)) > thousand.BUSY
    assert "| 1,000 | 1.4, 25, 1.03 | 27.4 | 2.2, 5, 0.002 | 7.2 |" in thousand.page(made)
    said = "The figures of 2 and 8 hosts predict 46 for a join with 16 hosts; measured were 46."
    assert said in thousand.notes(values, made)
