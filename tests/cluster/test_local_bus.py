"""Nodes on unix sockets: who meets whom, what arrives, who is dead, and who is refused."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from rtcio_sync.cluster import frames, messages, socket_directory, stream
from rtcio_sync.cluster.messages import Hello, Kind
from rtcio_sync.cluster.socket_directory import Directory, Unavailable
from tests.cluster.nodes import Node
from tests.forking import in_child
from tests.timing import settle, until


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # pytest's own folders have paths that are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="rtcio", dir="/tmp") as path:
        monkeypatch.setattr(socket_directory, "_bases", lambda: [Path(path)])
        yield Path(path)


@pytest.fixture
def make(base: Path) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(**options: Any) -> Node:
        made.append(Node(**options))
        return made[-1]

    yield make
    for each in made:
        each.mesh.stop()


def meet(*nodes: Node) -> None:
    until(lambda: all(len(set(each.handlers.old)) >= len(nodes) - 1 for each in nodes))


def test_all_nodes_meet_and_messages_arrive_once_in_order(make: Callable[..., Node]) -> None:
    nodes = [make() for _ in range(4)]
    meet(*nodes)
    for sender in nodes:
        for target in nodes:
            for number in range(100 if target is not sender else 0):
                body = f"{sender.id} {number}".encode()
                assert sender.mesh.post(target.id, 77, body, b"key", now=number % 7 == 0)
    for target in nodes:
        until(lambda target=target: len(target.handlers.messages) == 300)
        for sender in nodes:
            of_sender = [body for node, _, _, body in target.handlers.messages if node == sender.id]
            want = [f"{sender.id} {n}".encode() for n in range(100)] if sender is not target else []
            assert of_sender == want
    assert all(len(set(each.handlers.living)) == 3 for each in nodes)


def test_all_agree_who_is_the_eldest(make: Callable[..., Node]) -> None:
    nodes = [make() for _ in range(3)]
    until(lambda: all(len(each.handlers.old) == 2 for each in nodes))
    assert {each.mesh.eldest for each in nodes} == {nodes[0].id}
    nodes[0].mesh.stop()
    until(lambda: all(each.handlers.dead for each in nodes[1:]))
    assert {each.mesh.eldest for each in nodes[1:]} == {nodes[1].id}
    assert len({each.mesh.secret for each in nodes}) == 1


def test_what_a_new_node_has_to_know_comes_in_one_write_with_the_first_message(
    make: Callable[..., Node],
) -> None:
    node, streams = make(), []
    with socket.socket(socket.AF_UNIX) as new:
        new.bind(str(Directory(os.getpid(), "/").path / "abcd"))
        new.listen()

        def joined(name: str) -> None:
            streams.append(new.accept()[0])
            streams[0].setblocking(False)
            with pytest.raises(BlockingIOError):
                streams[0].recv(1)
            node.mesh.post(name, 77, b"words")

        node.handlers.joined = joined  # type: ignore[method-assign]
        assert node.mesh.finds("abcd")
        with streams[0] as stream_:
            found = frames.Frames().feed(stream_.recv(65536))
    assert [each.kind for each in found] == [Kind.HELLO, 77]


def test_a_node_that_has_given_its_id_back_is_asked_by_nobody(
    make: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *error: errors.append(error))
    a = make()
    with socket.socket(socket.AF_UNIX) as new:
        new.connect(str(Directory(os.getpid(), "/").path / a.id))  # waits to be accepted
        a.mesh.release()
        settle()  # as jobs of the app that end do at the end of the process
        a.mesh.release()
    assert errors == []
    assert not make().mesh.finds(a.id)


def test_a_node_that_stands_still_is_the_eldest_all_the_same(make: Callable[..., Node]) -> None:
    a = make()
    a.mesh._entrance.stop()  # as if it stood still: it meets nobody
    b = make()
    assert b.mesh.eldest == a.id
    a.mesh._directory.touch(a.id)
    assert make().mesh.eldest == a.id


def test_a_node_is_found_before_anything_of_it_was_read(make: Callable[..., Node]) -> None:
    a = make()
    a.mesh._entrance.stop()  # as if it had not looked yet
    b = make()
    assert list(a.mesh.nodes) == []
    assert a.mesh.finds(b.id)
    assert a.mesh.post(b.id, 77, b"first", now=True)
    until(lambda: b.bodies() == [b"first"])
    assert not a.mesh.finds(a.id)
    assert not a.mesh.finds("none")
    b.mesh.stop()
    until(lambda: a.handlers.dead == [b.id])
    assert not a.mesh.finds(b.id)


def test_a_large_message_arrives_whole_between_others(make: Callable[..., Node]) -> None:
    a, b = make(), make()
    meet(a, b)
    large = os.urandom(5_000_000)
    for body in (b"before", large, b"after"):
        a.mesh.post(b.id, 77, body)
    until(lambda: len(b.bodies()) == 3)
    assert b.bodies() == [b"before", large, b"after"]


def test_the_last_messages_of_a_dead_node_are_heard_before_its_death(
    make: Callable[..., Node],
) -> None:
    a, b = make(), make()
    meet(a, b)
    a.mesh.post(b.id, 77, b"last", now=True)
    a.mesh.stop()
    until(lambda: b.handlers.dead)
    assert b.bodies() == [b"last"]
    assert b.handlers.dead == [a.id]
    assert not b.mesh.post(a.id, 77, b"to nobody")
    assert list(b.mesh.nodes) == []


def test_a_killed_process_is_dead_at_once(make: Callable[..., Node], base: Path) -> None:
    a = make()
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import gevent
from rtcio_sync.cluster import socket_directory
socket_directory._bases = lambda: [Path({str(base)!r})]
from tests.cluster.nodes import Node
node = Node(master={os.getpid()})
gevent.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    until(lambda: a.mesh.nodes)
    process.kill()
    process.wait()
    until(lambda: a.handlers.dead)
    # What it left behind goes when the next node starts.
    b = make()
    meet(a, b)
    left = os.listdir(Directory(os.getpid(), "/").path)
    assert sorted(left) == sorted([".secret", a.id, b.id])


def test_more_than_the_bound_is_dropped_for_a_node_that_does_not_read(
    make: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 10_000_000)
    a, b = make(), make()
    meet(a, b)
    inlet = b.mesh._inlets[a.id]
    inlet._watch.stop()  # as if it stood still
    sent = [a.mesh.post(b.id, Kind.RELAY, bytes(1_000_000)) for _ in range(30)]
    assert 9 <= sent.count(True) <= 15
    assert a.handlers.overflows == sent.count(False)
    inlet._watch.start(inlet._readable)
    until(lambda: len(b.handlers.messages) == sent.count(True))
    assert a.mesh.post(b.id, 77, b"again")
    until(lambda: b.bodies()[-1] == b"again")


def test_a_change_of_rooms_is_never_dropped_for_a_node_that_does_not_read(
    make: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 3_000_000)
    monkeypatch.setattr(stream, "MOST_NEEDED", 3_000_000)
    a, b = make(), make()
    meet(a, b)
    inlet = b.mesh._inlets[a.id]
    inlet._watch.stop()  # as if it stood still
    while a.mesh.post(b.id, Kind.RELAY, bytes(1_000_000)):
        pass
    said = [b"%d" % number for number in range(1000)]
    for each in said:
        assert a.mesh.post(b.id, Kind.JOINED, each, now=True)
    inlet._watch.start(inlet._readable)
    until(lambda: b.bodies()[-1:] == said[-1:])
    assert [body for _, kind, _, body in b.handlers.messages if kind == Kind.JOINED] == said
    assert a.handlers.dead == b.handlers.gave_up == []


def test_a_node_that_misses_changes_is_dead_for_the_other_and_is_told_so(
    make: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 3_000_000)
    monkeypatch.setattr(stream, "MOST_NEEDED", 3_000_000)
    a, b, c = make(), make(), make()
    meet(a, b, c)
    streams = [b.mesh._entrance, b.mesh._inlets[a.id]._watch]
    for each in streams:
        each.stop()  # as if it stood still
    while a.mesh.post(b.id, Kind.JOINED, bytes(1_000_000)):
        pass
    assert a.handlers.dead == []  # its caller may be in the middle of telling all nodes
    until(lambda: a.handlers.dead == [b.id])
    assert not a.mesh.post(b.id, Kind.JOINED, b"more")
    streams[0].start(b.mesh._accept)
    streams[1].start(b.mesh._inlets[a.id]._readable)
    until(lambda: b.handlers.gave_up == [a.id])
    until(lambda: b.handlers.dead == [a.id])
    assert c.handlers.dead == []
    b.mesh._connect(a.id)  # it is not met again
    until(lambda: b.handlers.dead == [a.id] * 2)
    assert list(a.mesh.nodes) == [c.id]
    assert len(caplog.records) == 1


def test_a_message_that_cannot_be_read_ends_its_stream_and_no_other(
    make: Callable[..., Node], caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = make(), make(), make()
    meet(a, b, c)
    a.mesh.post(b.id, 77, b"unreadable")
    until(lambda: b.handlers.dead == [a.id])
    c.mesh.post(b.id, 77, b"raises")
    c.mesh.post(b.id, 77, b"after")
    until(lambda: b.bodies() == [b"after"])
    settle()
    assert len(caplog.records) == 2


def hello(node: str, version: int) -> bytes:
    return frames.frame(Kind.HELLO, messages.encoded(Hello(node, version, "messages", 1, 1)))


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 7,
        frames.HEAD.pack(2**31, Kind.HELLO, 0),
        frames.frame(77, b"no hello"),
        frames.frame(Kind.HELLO, b"\xc1"),
        hello("../x", messages.VERSION),
        hello("abcd", 999),
        b"\0",
        b"",
    ],
)
def test_a_stranger_who_says_something_else_is_turned_away(
    make: Callable[..., Node], first: bytes
) -> None:
    a = make()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(Directory(os.getpid(), "/").path / a.id))
        stranger.sendall(first)
        stranger.shutdown(socket.SHUT_WR)
        stranger.setblocking(False)
        closed: list[bool] = []

        def is_closed() -> bool:
            try:
                closed.append(stranger.recv(1) == b"")
            except BlockingIOError:
                return False
            except ConnectionError:
                closed.append(True)
            return closed[-1]

        until(is_closed)
    assert a.handlers.living == []


def test_another_user_is_turned_away(
    make: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make()
    path = Directory(os.getpid(), "/").path / a.id
    monkeypatch.setattr("rtcio_sync.cluster.local_bus.same_user", lambda sock: False)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.setblocking(False)
        stranger_heard: list[bytes] = []

        def is_closed() -> bool:
            try:
                stranger_heard.append(stranger.recv(1))
            except BlockingIOError:
                return False
            return True

        until(is_closed)
    assert stranger_heard == [b""]


def test_the_kernel_says_who_is_at_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert socket_directory.same_user(one)
        monkeypatch.setattr(os, "geteuid", lambda: 12345678)
        assert not socket_directory.same_user(one)


def test_the_directory_is_for_this_user_alone(base: Path) -> None:
    made = Directory(os.getpid(), "/").path
    for path in (made, made.parent):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o700


@pytest.mark.parametrize("spoil", ["link", "mode", "file"])
def test_a_directory_that_somebody_else_has_prepared_is_refused(
    base: Path, spoil: str, tmp_path: Path
) -> None:
    path = Directory(os.getpid(), "/").path
    if spoil == "mode":
        path.chmod(0o755)
    else:
        path.rmdir()
        if spoil == "link":
            path.symlink_to(tmp_path)
        else:
            path.touch()
    with pytest.raises(Unavailable):
        Directory(os.getpid(), "/")


def test_two_masters_and_two_servers_do_not_meet(make: Callable[..., Node]) -> None:
    a, b, c = make(), make(master=os.getppid()), make(key="/other")
    settle()
    gevent.sleep(0.05)
    assert [list(each.mesh.nodes) for each in (a, b, c)] == [[], [], []]


def test_a_master_that_takes_the_place_of_another_has_its_nodes_and_keeps_its_own(
    base: Path, make: Callable[..., Node]
) -> None:
    masters = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    one, two = (each.pid for each in masters)
    try:
        old, new = make(master=one), make(master=two, before=one)
        meet(old, new)
        late = make(master=one)
        meet(old, new, late)
        old.mesh.stop()
        late.mesh.stop()
        masters[0].kill()
        masters[0].wait()
        make().mesh.stop()  # removes the directory of the dead master
        assert [each.name for each in base.iterdir() if f"-{one}-" in each.name] == []
        next_ = make(master=two)
        meet(new, next_)
        assert {each.mesh.secret for each in (old, new, late, next_)} == {old.mesh.secret}
        for each in (new, next_):
            each.mesh.stop()
        assert os.listdir(base) == []
    finally:
        for process in masters:
            process.kill()
            process.wait()


def test_a_process_that_a_signal_has_stopped_is_known(make: Callable[..., Node]) -> None:
    one, two = make(), make()
    meet(one, two)
    process = subprocess.Popen(["sleep", "1000"])
    one.mesh._pids[two.mesh.node] = process.pid
    try:
        assert not one.mesh.is_stopped(two.mesh.node)
        process.send_signal(signal.SIGSTOP)
        until(lambda: one.mesh.is_stopped(two.mesh.node))
        process.send_signal(signal.SIGCONT)
        until(lambda: not one.mesh.is_stopped(two.mesh.node))
    finally:
        process.kill()
        process.wait()
    assert not one.mesh.is_stopped(two.mesh.node)  # there is no such process any more
    assert not one.mesh.is_stopped("none")


def test_all_nodes_share_one_file_until_the_last_has_gone(
    base: Path, make: Callable[..., Node]
) -> None:
    masters = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    one, two = (each.pid for each in masters)
    try:
        old = make(master=one)
        nodes = [old, make(master=two, before=one), make(master=one), make(master=two, before=one)]
        made = [each.mesh.shared_file("seats") for each in nodes]
        assert len({os.fstat(fd).st_ino for fd in made}) == 1
        assert os.fstat(made[0]).st_mode & 0o777 == 0o600
        assert in_child(lambda: made[0] in nodes[0].mesh.abandon())
        os.write(made[0], b"a")
        os.write(made[1], b"b")
        assert os.pread(made[2], 9, 0) == b"ab"
        assert [each.mesh.shared_file("seats") for each in nodes] == made
        for each in nodes:
            each.mesh.stop()
            assert each.mesh.shared_file("seats") is None
        for fd in made:
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
        assert os.listdir(base) == []
    finally:
        for process in masters:
            process.kill()
            process.wait()


def test_the_directories_of_dead_masters_are_removed(base: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = base / f"rtcio_sync-{os.geteuid()}-{dead.pid}-5"
    reused = base / f"rtcio_sync-{os.geteuid()}-{os.getpid()}-5"
    strange = base / "rtcio_sync-x"
    for path in (left, reused, strange):
        path.mkdir()
    Directory(os.getpid(), "/")
    assert (left.exists(), reused.exists(), strange.exists()) == (False, False, True)


def test_a_forked_child_keeps_no_stream_open(make: Callable[..., Node]) -> None:
    a, b = make(), make()
    meet(a, b)

    file = a.mesh.shared_file("f")

    def has_given_up() -> bool:
        known = a.mesh.abandon()
        given = file in known and a.mesh.shared_file("f") is None
        return given and len(known) == 4 and len(set(known)) == 4

    assert in_child(has_given_up)


def test_a_forked_child_says_nothing_as_its_parent(make: Callable[..., Node]) -> None:
    a, b = make(), make()
    meet(a, b)

    def is_no_node() -> bool:
        a.mesh.abandon()
        posted = a.mesh.post(b.id, 77, b"")
        a.mesh.stop()  # an app may stop its server there
        return not posted and not a.mesh.nodes

    assert in_child(is_no_node)
    meet(a, make())  # its id is still there
