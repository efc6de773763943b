"""The jobs of docs/background-jobs.md: in a greenlet, a thread and a process, and over a stop."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.examples.launch import EXAMPLES, example, program
from tests.examples.visitors import connect
from tests.integration.clients import Driver
from tests.integration.redis_server import RedisServer
from tests.integration.servers import BIN, Running, free_port
from tests.timing import DEADLINE

QUEUE = "example:jobs"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def served(redis: RedisServer) -> Iterator[Running]:
    with example("background_jobs.py", REDIS_URL=redis.url) as server:
        yield server


@contextmanager
def worker(redis: RedisServer) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(EXAMPLES / "background_jobs.py"), "worker"]
    environ = {**os.environ, "REDIS_URL": redis.url}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting for jobs\n"
            yield process
        finally:
            process.kill()


def test_a_job_in_a_greenlet_lets_its_client_go_on(node: Driver, served: Running) -> None:
    a = connect(node, served)
    job = a.call("convert", {"pages": 3})
    assert a.call("hash", "while it runs")
    assert a.wait_for("done") == [{"id": job}]
    assert a.received("progress") == [[{"page": page, "of": 3}] for page in (1, 2, 3)]


def test_a_computation_in_a_thread_emits_and_answers(node: Driver, served: Running) -> None:
    a = connect(node, served)
    expected = hashlib.scrypt(b"hello", salt=b"example", n=2**14, r=8, p=1).hex()
    assert a.call("hash", "hello") == expected
    assert a.received("hashing") == [[{"characters": 5}]]


def test_a_worker_takes_jobs_and_finishes_its_stop(
    node: Driver, served: Running, redis: RedisServer
) -> None:
    a = connect(node, served)
    with worker(redis) as process:
        job = a.call("convert", {"pages": 2, "later": True})
        assert a.wait_for("done") == [{"id": job}]

        long = a.call("convert", {"pages": 1000, "later": True})
        a.wait("event", event="progress", args=[{"page": 1, "of": 1000}])
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    with redis.client() as client:
        (rest,) = map(json.loads, client.lrange(QUEUE, 0, -1))
        client.delete(QUEUE)
    assert rest["id"] == long and 1 < rest["next"] < 1000


def listen(redis: RedisServer) -> AbstractContextManager[Running]:
    return example("background_jobs.py", REDIS_URL=redis.url)


def gunicorn(redis: RedisServer) -> AbstractContextManager[Running]:
    port = free_port()
    command = [str(BIN / "gunicorn"), "-k", "gevent", "-b", f"127.0.0.1:{port}"]
    # It waits so long for idle connections, and kills the worker then.
    command += ["--keep-alive", "75", "--graceful-timeout", "3", "background_jobs:app"]
    return program(command, environ={"REDIS_URL": redis.url}, port=port, cwd=EXAMPLES)


@pytest.mark.parametrize("way", [listen, gunicorn])
def test_a_server_that_stops_leaves_the_rest_of_its_jobs_to_a_worker(
    node: Driver,
    served: Running,
    redis: RedisServer,
    way: Callable[[RedisServer], AbstractContextManager[Running]],
) -> None:
    with way(redis) as stopped:
        idle = http.client.HTTPConnection("127.0.0.1", stopped.port, timeout=DEADLINE)
        idle.request("GET", "/")
        idle.getresponse().read()
        a = connect(node, stopped)
        job = a.call("convert", {"pages": 1000})
        a.wait_for("progress")
        assert stopped.terminate() == 0
        idle.close()
    with redis.client() as client:
        (rest,) = map(json.loads, client.lrange(QUEUE, 0, -1))
        assert rest["id"] == job and 1 < rest["next"] <= 1000
        first, last = rest["next"], rest["next"] + 2
        client.lset(QUEUE, 0, json.dumps({**rest, "pages": last}))  # so that it ends soon
    again = connect(node, served)  # to the other server, with another sid
    assert again.call("watch", job) is True
    with worker(redis):
        assert again.wait_for("done") == [{"id": job}]
    pages = [{"page": page, "of": last} for page in range(first, last + 1)]
    assert again.received("progress") == [[each] for each in pages]
