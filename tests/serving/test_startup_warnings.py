"""What the log says at the start of a process that is set up wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gunicorn.config
import gunicorn.workers.base
import pytest
from gevent import monkey

from rtcio_sync.serving.startup_warnings import warn_if_unpatched, warn_of_many_workers


def test_a_patched_process_is_not_warned() -> None:
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import logging, sys; logging.basicConfig(stream=sys.stdout)\n"
        "from rtcio_sync.serving.startup_warnings import warn_if_unpatched; warn_if_unpatched()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_process_that_is_not_patched_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    assert not monkey.is_module_patched("socket"), "what this test needs"
    warn_if_unpatched()
    (record,) = caplog.records
    assert "monkey.patch_all()" in record.getMessage()


class Worker(gunicorn.workers.base.Worker):  # type: ignore[misc]
    """A gunicorn worker that loads an app with a server in it; no more of it is started."""

    def __init__(self, workers: int, age: int) -> None:
        self.cfg = gunicorn.config.Config()
        self.cfg.set("workers", workers)
        self.age = age

    def load_wsgi(self) -> None:
        warn_of_many_workers()


@pytest.mark.parametrize(
    ("workers", "age", "warned"),
    [(1, 1, 0), (2, 1, 1), (2, 2, 0)],
    ids=["one worker", "the first of two", "the second of two"],
)
def test_several_workers_that_cannot_reach_each_other_are_warned_of_once(
    workers: int, age: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    Worker(workers, age).load_wsgi()
    assert len(caplog.records) == warned
    for record in caplog.records:
        assert "`-w 1`" in record.getMessage()
        assert "`-k gevent`" in record.getMessage()
