"""The environment of the tests and of the programs that they start, the same wherever they run.

A shell that runs something in the background has it ignore SIGINT, ``nohup`` SIGHUP; both are
inherited, so that a server of a test would not hear them either. The same is true of variables that
servers read, of the umask, and of a low soft limit of open files.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from typing import Any

from hypothesis import HealthCheck, settings

#: What the tests' servers, Flask, gunicorn, Python, Node and pytest read from the environment.
_VARIABLES = {
    *("HOST", "PORT", "ALLOWED_ORIGINS", "STUN_HOSTS", "TURN_HOSTS", "TURN_SECRET", "TURN_TTL"),
    *("MAX_PEERS", "LOG_LEVEL", "DRAIN_SECONDS", "RTCIO_APP", "REDIS_URL", "RECOVERY"),
    *("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SERVER_SOFTWARE"),
    *("PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "PYTEST_ADDOPTS"),
    *("PYTHONASYNCIODEBUG", "GEVENT_MONITOR_THREAD_ENABLE", "GEVENT_RESOLVER", "GEVENT_LOOP"),
    *("NODE_OPTIONS", "NODE_ENV", "DEBUG", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES"),
    *("LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"),
}
_PREFIXES = ("FLASK_", "RTCIO_TEST_", "LC_")

#: Descriptors that the attack of 5,000 silent connections needs on either side, and some more.
_DESCRIPTORS = 8192

#: As far as chance is decided by us: 0, so that each run does the same, or asked for.
seed = 0


def prepare() -> None:
    """Sets the environment, signals and limits. Call it first, in the main thread."""
    for name in list(os.environ):
        if name in _VARIABLES or name.startswith(_PREFIXES):
            del os.environ[name]
    os.environ.update(LANG="C.UTF-8", TZ="UTC", NO_PROXY="127.0.0.1,localhost")
    os.environ["no_proxy"] = os.environ["NO_PROXY"]
    time.tzset()
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            # We go on ignoring it; a program that we start has the default again: no handler
            # outlives exec, and being ignored does.
            signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def fix_seeds(asked: str | int | None) -> None:
    """Hypothesis tries the same examples each time, or those of a seed that was asked for.

    No test of ours fails because an example, or making one, took long: that says how busy the
    machine is.
    """
    global seed
    untimed: dict[str, Any] = {
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow],
        "database": None,
    }
    settings.register_profile("fixed", derandomize=True, **untimed)
    settings.register_profile("seeded", print_blob=True, **untimed)
    settings.load_profile("fixed" if asked in (None, "") else "seeded")
    if asked not in (None, "", "random"):
        seed = int(asked)


def seeds() -> str:
    return f"seed of all chance: {seed}"
