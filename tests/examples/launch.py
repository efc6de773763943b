"""Examples as their readers start them: `python examples/<name>`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.servers import START_DEADLINE, Running, assert_clean, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def example(name: str, **environ: str) -> Iterator[Running]:
    """Start ``python examples/<name>`` with `environ` and a free PORT; stop it afterwards.

    Its log must be free of warnings, errors and tracebacks in the end.
    """
    with program([sys.executable, str(EXAMPLES / name)], environ=environ) as server:
        yield server


@contextmanager
def program(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    port: int | None = None,
    cwd: Path | None = None,
    allowed: str = "",
) -> Iterator[Running]:
    """Start a server whose port is in its environment as PORT, and stop it afterwards.

    ``allowed``: what a warning in its log may say.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd or folder,
                env={**os.environ, "PORT": str(port), "PYTHONUNBUFFERED": "1", **(environ or {})},
                start_new_session=True,
            )
        server = Running(process, port, log_path)
        try:
            _wait_until_it_answers(server)
            yield server
            if process.poll() is None:
                server.terminate()
            assert_clean(server.log(), allowed)
        except BaseException:
            sys.stderr.write(f"--- log of {command}:\n{server.log()[-8000:]}\n---\n")
            raise
        finally:
            server.kill()


def _wait_until_it_answers(server: Running) -> None:
    end = time.monotonic() + START_DEADLINE
    while True:
        assert server.process.poll() is None, f"it ended, with {server.process.returncode}"
        try:
            server.get("/socket.io/").read()  # 400: it is there
            return
        except OSError:
            assert time.monotonic() < end, f"no answer within {START_DEADLINE} s"
            time.sleep(0.05)
