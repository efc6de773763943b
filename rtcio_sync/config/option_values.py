"""Checks the values of the options of `Server`: an `OptionError` names the fix. Pure."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import OptionError
from ..protocol.names import namespace_names
from .origins import check_origins

__all__ = [
    "check_json", "check_value", "cluster_in", "is_number", "is_redis", "mended", "whole",
]  # fmt: skip


def is_number(value: Any, *, above: float | None = None) -> bool:
    """Whether ``value`` is a finite number (not a bool), at least 0, or greater than ``above``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        if not math.isfinite(value):
            return False
    except OverflowError:  # a whole number that no timer and no sum with a float could take
        return False
    return value >= 0 if above is None else value > above


def whole(value: Any) -> Any:
    """A float without fraction (``1e6``) as an `int`; other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refuse(name: str, value: Any, fix: str) -> OptionError:
    return OptionError(f"{name}={value!r:.100}: {fix}")


def _number(fix: str, *, above: float | None = None, none: bool = False) -> Callable[..., None]:
    def check(name: str, value: Any) -> None:
        if not (none and value is None) and not is_number(value, above=above):
            raise _refuse(name, value, fix)

    return check


def _count(
    fix: str, *, above: float | None = None, most: float = math.inf, none: bool = False
) -> Callable[..., None]:
    def check(name: str, value: Any) -> None:
        fits = is_number(value, above=above) and isinstance(whole(value), int) and value <= most
        if not (none and value is None) and not fits:
            raise _refuse(name, value, fix)

    return check


def _flag(*, none: bool = False) -> Callable[..., None]:
    def check(name: str, value: Any) -> None:
        if not (none and value is None) and not isinstance(value, bool):
            raise _refuse(name, value, "give True or False" + (", or None" if none else ""))

    return check


def _one_of(*allowed: Any, note: str = "") -> Callable[..., None]:
    def check(name: str, value: Any) -> None:
        if not any(value is each or (value == each and type(value) is str) for each in allowed):
            *most, last = [repr(each) for each in allowed if each is not None]
            raise _refuse(name, value, f"give {', '.join(most)} or {last}{note}")

    return check


# -- one by one ------------------------------------------------------------------------------------


_one_mode = _one_of(None, "gevent", "gevent_uwsgi", "threading")


def _async_mode(name: str, value: Any) -> None:
    _one_mode(name, value)
    if value == "gevent_uwsgi" and "uwsgi" not in sys.modules:  # uWSGI makes that module
        raise _refuse(
            name, value, "this process is not run by uWSGI; for all other servers leave it out"
        )


def _path(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip("/"):
        raise _refuse(name, value, "give the URL path of the endpoint, like '/socket.io'")
    if "://" in value or not re.fullmatch(r"[!-~]+", value) or re.search(r"[?#%\\]", value):
        raise _refuse(name, value, "give a plain URL path, like '/socket.io', not a whole URL")
    if any(part in (".", "..") for part in value.split("/")):
        raise _refuse(name, value, "clients resolve '.' and '..' before they ask: give the result")


def _ping_interval(name: str, value: Any) -> None:
    parts = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    if not all(map(is_number, parts)) or not sum(parts) > 0:
        raise _refuse(name, value, "give seconds above 0, or (seconds, grace)")


def _client_manager(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, (str, bytes)):
        kinds = {"amqp": "KombuManager", "kafka": "KafkaManager", "zmq": "ZmqManager"}
        text = value if isinstance(value, str) else value.decode(errors="replace")
        kind = next((kinds[each] for each in kinds if text.startswith(each)), "RedisManager")
        raise _refuse(name, value, f"write client_manager=socketio.{kind}({text!r})")
    if hasattr(value, "wsgi_app"):
        raise _refuse(name, value, "it is an app; write Server(app=app)")
    if callable(value) and not hasattr(value, "set_server"):
        raise _refuse(name, value, "serve a WSGI application with listen(port, app=…)")
    if isinstance(value, type):
        raise _refuse(name, value, f"give a client manager, {value.__name__}(…)")
    if not callable(getattr(value, "set_server", None)) or not hasattr(value, "get_participants"):
        raise _refuse(name, value, "give a python-socketio client manager, like RedisManager(url)")
    if inspect.iscoroutinefunction(getattr(value, "emit", None)):
        kind = type(value).__name__.removeprefix("Async")
        raise _refuse(name, value, f"it is for asyncio; give socketio.{kind}(…)")


def _logger(name: str, value: Any) -> None:
    says = ("info", "warning", "error")
    if not (value is None or isinstance(value, bool)) and not (
        not isinstance(value, type) and all(callable(getattr(value, each, None)) for each in says)
    ):
        raise _refuse(name, value, "give True, False or a logger, like logging.getLogger('name')")


def _serializer(name: str, value: Any) -> None:
    if value in ("default", "msgpack") and isinstance(value, str):
        return
    if not isinstance(value, type) or not all(
        callable(getattr(value, each, None)) for each in ("encode", "decode")
    ):
        raise _refuse(
            name, value, "give 'default', 'msgpack' or a packet class, like socketio.packet.Packet"
        )


def check_json(value: Any, name: str = "json") -> None:
    """Raises `OptionError` for what cannot write packets as `json` does; `None`: the server's own.

    It is asked to write one value.
    """
    if value is None:
        return
    functions = [getattr(value, each, None) for each in ("dumps", "loads")]
    if not all(map(callable, functions)):
        raise _refuse(name, value, "give a module or an object with dumps and loads")
    if any(map(inspect.iscoroutinefunction, functions)):
        raise _refuse(name, value, "its dumps and loads have to be plain functions, not async")
    if getattr(value, "__name__", None) == "orjson":
        raise _refuse(name, value, f"leave it out: {name}=None is orjson")
    try:
        written = value.dumps({}, separators=(",", ":"))  # as for each packet
    except TypeError as error:
        raise _refuse(
            name, value, f"its dumps has to take (value, separators=…), as json.dumps does: {error}"
        ) from error
    except Exception:  # noqa: BLE001  (it may need an app's context, which packets have)
        return
    if not isinstance(written, str):
        kind = type(written).__name__
        raise _refuse(name, value, f"its dumps has to give text (str), not {kind}")


# RFC 6265 4.1.1: a token, and the value of an attribute
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ATTRIBUTE = re.compile(r"[ -:<-~]*")

#: The attributes of a cookie that browsers know; they ignore any other, such as Node's ``maxAge``.
_ATTRIBUTES = {
    each.lower().replace("-", ""): each
    for each in (
        "Domain", "Expires", "HttpOnly", "Max-Age", "Partitioned", "Path", "Priority", "SameSite",
        "Secure",
    )
}  # fmt: skip


def _cookie(name: str, value: Any) -> None:
    fix = "give the cookie's name, a dict of its attributes ('name' among them), or None"
    if value is None or isinstance(value, bool):
        return
    known = value.get("name") if isinstance(value, dict) else value
    if not isinstance(known, str) or not _TOKEN.fullmatch(known):
        raise _refuse(name, value, fix)
    for key, each in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str) or not _TOKEN.fullmatch(key):
            raise _refuse(name, value, f"{key!r} is no name of an attribute, such as 'Max-Age'")
        meant = _ATTRIBUTES.get(re.sub("[-_]", "", key.lower()))
        if key != "name" and (meant is None or meant.lower() != key.lower()):
            instead = ", ".join(sorted(_ATTRIBUTES.values())) if meant is None else repr(meant)
            raise _refuse(name, value, f"browsers ignore {key!r} in a cookie: write {instead}")
        if isinstance(each, str) and not _ATTRIBUTE.fullmatch(each):
            raise _refuse(name, value, f"{key!r} has characters that no cookie has: {each!r}")
        if not (each is True or callable(each) or isinstance(each, str)):
            raise _refuse(name, value, f"{key!r} has to be a string, True or a function")


def _transports(name: str, value: Any) -> None:
    known = ("polling", "websocket")
    if value is None or (isinstance(value, str) and value in known):
        return
    fits = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    chosen = list(value) if fits else []
    if not chosen or any(each not in known for each in chosen) or len(chosen) > len(set(chosen)):
        raise _refuse(name, value, "give 'polling', 'websocket' or both, as a list")


def _namespaces(name: str, value: Any) -> None:
    namespace_names(value)


def _origins(name: str, value: Any) -> None:
    check_origins(value)


#: The schemes of the address of a cluster's Redis.
_REDIS = re.compile(r"(?:redis|rediss|unix|valkey|valkeys)(?:\+(?:sentinel|cluster))?://.+")

_CLUSTERS = (
    "give None for the workers of one host, False for none, or the address of the Redis of all "
    "hosts, like 'redis://host:6379/0'"
)


def _cluster(name: str, value: Any) -> None:
    if value is None or isinstance(value, bool) or is_redis(value):
        return
    if isinstance(value, str):  # it may hold a password
        raise OptionError(f"{name}: not an address of Redis; {_CLUSTERS}")
    raise _refuse(name, value, _CLUSTERS)


def is_redis(value: Any) -> bool:
    """Whether it is the address of a cluster's Redis."""
    return isinstance(value, str) and _REDIS.fullmatch(value) is not None


def cluster_in(name: str, text: str | None) -> bool | str | None:
    """The value of ``cluster`` in a variable or a configuration file. Raises `OptionError`."""
    said = (text or "").strip()
    if said.lower() in ("0", "no", "off", "false"):
        return False
    if said.lower() in ("", "1", "yes", "on", "true"):
        return None
    if not is_redis(said):  # it may hold a password
        raise OptionError(
            f"{name}: not an address of Redis; give one like 'redis://host:6379/0' for several "
            "hosts, off for none, or leave it out for the workers of one host"
        )
    return said


def _cluster_prefix(name: str, value: Any) -> None:
    # Braces would be a hash tag of Redis Cluster.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value):
        raise _refuse(name, value, "give 1 to 64 letters, digits, or any of _ . : -")


def _cluster_address(name: str, value: Any) -> None:
    if value is None:
        return
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}", value)
        or not 0 < int(value.rpartition(":")[2]) < 1 << 16
    ):
        raise _refuse(name, value, "give a host and a port, like '10.0.0.5:8000'")


def _cluster_external(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _refuse(name, value, "give the name of the channel, like 'socketio', or None")


def _cluster_secret(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, (str, bytes)) or len(value) < 16):
        raise OptionError(f"{name}: give at least 16 characters, the same on all hosts, or None")


_LIMIT = "give a number above 0"

_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "path": _path,
    "relay_scope": _one_of("namespace", "room"),
    "drain_seconds": _number("give 0 or more seconds"),
    "max_connections": _count(
        "give 1 or more, or None for the descriptor limit", above=0, none=True
    ),
    "max_buffered_total": _count(
        "give a number of bytes above 0, or None for no bound", above=0, none=True
    ),
    "max_polling_sessions": _count(
        "give 1 or more, or None for as many as max_connections", above=0, none=True
    ),
    "trusted_proxies": _count("give the number of proxies in front of the server", most=1000),
    "cluster": _cluster,
    "cluster_address": _cluster_address,
    "cluster_external": _cluster_external,
    "cluster_prefix": _cluster_prefix,
    "cluster_required": _flag(),
    "cluster_secret": _cluster_secret,
    "client_manager": _client_manager,
    "logger": _logger,
    "serializer": _serializer,
    "async_handlers": _flag(none=True),
    "always_connect": _flag(),
    "namespaces": _namespaces,
    "async_mode": _async_mode,
    "ping_interval": _ping_interval,
    "ping_timeout": _number(f"{_LIMIT}, of seconds", above=0),
    "max_http_buffer_size": _count(f"{_LIMIT}, of bytes", above=0),
    "allow_upgrades": _flag(),
    "http_compression": _flag(),
    "compression_threshold": _count("give a number of bytes"),
    "cookie": _cookie,
    "cors_allowed_origins": _origins,
    "cors_credentials": _flag(),
    "monitor_clients": _flag(none=True),
    "transports": _transports,
    "engineio_logger": _logger,
}


def check_value(name: str, value: Any) -> None:
    """Raises `OptionError`, which begins with ``name``, for an invalid value."""
    check = _CHECKS.get(name)
    if check is not None:
        check(name, value)


def mended(name: str, value: Any) -> Any:
    """A checked value in its normal form."""
    if name == "namespaces":
        return namespace_names(value)
    if name == "cookie" and isinstance(value, bool):
        return "io" if value else None  # as Socket.IO's own server names it
    if name == "transports" and value is not None and not isinstance(value, str):
        return list(value)
    return whole(value) if name in _COUNTS else value


_COUNTS = {
    "max_connections",
    "max_buffered_total",
    "max_polling_sessions",
    "trusted_proxies",
    "max_http_buffer_size",
    "compression_threshold",
}
