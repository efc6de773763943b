"""What a gevent server does if its process may open no more files, with and without `heed`."""

from __future__ import annotations

import errno
import logging
import os
from typing import Any, cast

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer
from gunicorn.workers.gthread import ThreadWorker

from rtcio_sync.transport import descriptor_shortage
from tests.timing import DEADLINE


class Short(StreamServer):
    """Cannot accept at first, as often as ``left`` says, for the reason ``number``."""

    left = 3
    number = errno.EMFILE

    def do_read(self) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number))
        return super().do_read()


class Listener:
    """Of gunicorn's worker of threads."""

    def accept(self) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _say_hello(sock: Any, address: object) -> None:
    sock.sendall(b"hello")


def _client(server: StreamServer) -> socket.socket:
    return socket.create_connection(cast("tuple[str, int]", server.address))


def _served(server: StreamServer) -> None:
    """A client of the server is served in the end."""
    with gevent.Timeout(DEADLINE):
        server.start()
        try:
            client = _client(server)
            assert client.recv(10) == b"hello"
            client.close()
        finally:
            server.stop()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_it_waits_says_so_once_and_goes_on(
    number: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server = Short(("127.0.0.1", 0), _say_hello)
    server.number = number
    descriptor_shortage.heed(server)
    _served(server)
    assert "Traceback" not in capfd.readouterr().err
    (said,) = caplog.records
    assert said.levelno == logging.WARNING and "ulimit -n" in said.getMessage()


def test_without_it_gevent_prints_a_traceback_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    _served(Short(("127.0.0.1", 0), _say_hello))
    assert capfd.readouterr().err.count("Traceback") == Short.left


def test_other_errors_are_gevents(capfd: pytest.CaptureFixture[str]) -> None:
    server = Short(("127.0.0.1", 0), _say_hello)
    server.number = errno.ECONNABORTED
    descriptor_shortage.heed(server)
    _served(server)
    assert "Traceback" in capfd.readouterr().err


def test_a_server_that_stops_meanwhile_does_not_go_on() -> None:
    server = Short(("127.0.0.1", 0), _say_hello)
    descriptor_shortage.heed(server)
    server.start()
    client = _client(server)
    while server.left == Short.left:
        gevent.sleep(0.01)
    server.stop()
    left = server.left
    gevent.sleep(3 * descriptor_shortage.AGAIN)
    assert server.left == left
    client.close()


def test_gunicorns_worker_of_threads_dies_without_it(caplog: pytest.LogCaptureFixture) -> None:
    worker = ThreadWorker.__new__(ThreadWorker)
    told: list[bool] = []
    with pytest.raises(OSError, match="Too many open files"):
        worker.accept(Listener())
    worker.set_accept_enabled = told.append
    descriptor_shortage.heed_worker_on_threads(worker)
    for _ in range(3):
        worker.accept(Listener())
    assert told == [False] * 3 and len(caplog.records) == 1
