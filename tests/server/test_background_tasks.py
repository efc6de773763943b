"""Background tasks of the app: what they raise ends neither the server nor what waits for them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import gevent
import pytest
from flask import Flask

from rtcio_sync import Server
from rtcio_sync.errors import NotServing, OptionError
from rtcio_sync.flask_socketio import SocketIO
from tests.timing import DEADLINE, wait_until
from tests.unrun import both, coroutine, generator

ENDING = [SystemExit(5), KeyboardInterrupt(), SystemError("inside")]


def raises(error: BaseException) -> None:
    raise error


def of_library() -> Any:
    return Server()


def of_flask_socketio() -> Any:
    return SocketIO(Flask("app"), async_mode="gevent")


def served(made: Any) -> Any:
    server = getattr(made, "server", made)
    server._hub_thread.bind()
    return made


@pytest.mark.parametrize("make", [of_library, of_flask_socketio])
@pytest.mark.parametrize("error", ENDING, ids=repr)
@pytest.mark.parametrize("early", [False, True])
def test_what_would_end_the_process_ends_a_task_alone_and_is_logged(
    make: Callable[[], Any], error: BaseException, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = make() if early else served(make())
    task = made.start_background_task(raises, error)
    task.join(timeout=DEADLINE)
    gevent.sleep(0.01)  # gevent would raise it here
    assert (task.ready(), task.successful(), task.value) == (True, False, None)
    assert task.exception is error
    with pytest.raises(type(error)) as raised:
        task.get()
    assert raised.value is error
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.name == ("rtcio_sync.dispatch" if make is of_library else "app")


def test_sys_exit_in_a_thread_of_a_task_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(async_mode="threading")
    server.start_background_task(sys.exit, 5).join(DEADLINE)
    wait_until(lambda: caplog.records)
    assert [each.name for each in caplog.records] == ["rtcio_sync.dispatch"]


def test_who_started_it_in_another_thread_gets_its_exit(elsewhere: Callable[..., Any]) -> None:
    server = served(Server())

    def asked() -> Any:
        task = server.start_background_task(sys.exit, 5)
        task.join(timeout=DEADLINE)
        return task.successful(), task.exception

    done, error = elsewhere(asked)
    assert not done and isinstance(error, SystemExit) and error.code == 5
    with pytest.raises(SystemExit):
        elsewhere(lambda: server.start_background_task(sys.exit, 5).get())


def test_what_else_a_task_raises_and_returns_is_as_in_every_greenlet() -> None:
    server = served(Server())
    done = server.start_background_task(lambda *args, **options: (args, options), 1, two=2)
    assert done.get(timeout=DEADLINE) == ((1,), {"two": 2})
    assert done.successful() and done.exception is None and done.exc_info is None
    failed = server.start_background_task(raises, KeyError("x"))
    with pytest.raises(KeyError):
        failed.get(timeout=DEADLINE)
    assert not failed.successful() and failed.exc_info[0] is KeyError
    killed = server.start_background_task(gevent.sleep, DEADLINE)
    killed.kill()
    assert killed.successful() and isinstance(killed.get(), gevent.GreenletExit)


def test_who_waits_for_several_hears_of_the_exit() -> None:
    server = served(Server())
    tasks = [server.start_background_task(each) for each in (lambda: 1, lambda: sys.exit(5))]
    linked: list[Any] = []
    tasks[1].link_exception(linked.append)
    with pytest.raises(SystemExit):
        gevent.joinall(tasks, timeout=DEADLINE, raise_error=True)
    gevent.sleep(0)
    assert linked == [tasks[1]]


@pytest.mark.parametrize("make", [coroutine, generator, both])
def test_a_task_that_returns_what_has_yet_to_run_has_failed(
    make: Callable[..., Any], elsewhere: Callable[..., Any]
) -> None:
    server = served(Server())
    task = server.start_background_task(lambda: make())
    with pytest.raises(TypeError, match="returned a"):
        task.get(timeout=DEADLINE)
    assert not task.successful()
    with pytest.raises(TypeError, match="returned a"):
        elsewhere(lambda: server.start_background_task(lambda: make()).get(timeout=DEADLINE))


WRONG_PAUSES = [float("nan"), Decimal("nan"), None, "1", b"1", [], 10**400]


@pytest.mark.parametrize("make", [of_library, of_flask_socketio])
@pytest.mark.parametrize("seconds", WRONG_PAUSES, ids=lambda each: repr(each)[:20])
def test_what_is_no_number_of_seconds_is_refused_and_the_hub_goes_on(
    make: Callable[[], Any], seconds: Any
) -> None:
    made = served(make())
    with pytest.raises(OptionError, match="number of seconds"):
        made.sleep(seconds)
    made.sleep(0.001)
    made.sleep(Decimal("0.001"))
    made.sleep()


def test_the_hub_does_not_sleep() -> None:
    server = served(Server())
    raised = gevent.event.AsyncResult()

    def in_hub() -> None:
        try:
            server.sleep(0.01)
        except NotServing as error:
            raised.set(error)

    gevent.get_hub().loop.run_callback(in_hub)
    assert "gevent.spawn(sleep" in str(raised.get(timeout=DEADLINE))
