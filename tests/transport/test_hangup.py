"""Whether a client that waits is still there: nothing of what it has sent is read for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import gevent
import pytest

from rtcio_sync.transport import hangup
from rtcio_sync.transport.hangup import HangUp
from tests.timing import until


@pytest.fixture(params=["unix", "tcp"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end, and the server's."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
    with ours, theirs:
        yield theirs, ours


Ends = tuple[socket.socket, socket.socket]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hangup, "LOOK_AGAIN", 0.02)


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silent", "more came"])
@pytest.mark.parametrize("half", [True, False], ids=["half", "both"])
def test_the_end_is_heard_once(ends: Ends, before: bytes, half: bool) -> None:
    theirs, ours = ends
    heard: list[int] = []
    watch = HangUp(ours, lambda: heard.append(1))
    theirs.sendall(before)
    gevent.sleep(0.05)
    assert heard == []
    if half:
        theirs.shutdown(socket.SHUT_WR)
    else:
        theirs.close()
    until(lambda: heard == [1])
    gevent.sleep(0.05)
    watch.stop()
    assert heard == [1]
    assert ours.recv(100) == before, "nothing was read"


def test_a_request_that_waits_behind_is_not_looked_at_all_the_time(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = ends
    looks: list[int] = []

    def look(self: HangUp) -> bool:
        looks.append(1)
        if len(looks) == 2:
            monkeypatch.setattr(hangup, "LOOK_AGAIN", 3600.0)
        return False

    monkeypatch.setattr(HangUp, "_has_ended", look)
    watch = HangUp(ours, lambda: None)
    theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
    until(lambda: len(looks) == 2)
    gevent.sleep(0.1)  # many turns of the loop
    watch.stop()
    assert len(looks) == 2


def test_nothing_is_heard_once_it_is_stopped(ends: Ends) -> None:
    theirs, ours = ends
    heard: list[int] = []
    watch = HangUp(ours, lambda: heard.append(1))
    watch.stop()
    watch.stop()
    theirs.close()
    gevent.sleep(0.05)
    assert heard == []


def test_what_goes_wrong_when_it_is_heard_stays_out_of_the_hub(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, ours = ends

    def gone() -> None:
        raise ValueError("of the caller's")

    watch = HangUp(ours, gone)
    theirs.close()
    until(lambda: "cannot be watched" in caplog.text)
    watch.stop()
