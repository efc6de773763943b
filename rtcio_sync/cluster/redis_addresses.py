"""Where Redis is: at one address, where its Sentinels say, or on the masters of a Redis Cluster.

redis-py connects: it knows TLS, users and passwords. Everything here blocks, in a greenlet or in a
thread.

- ``redis://``, ``rediss://``, ``unix://`` and the same with ``valkey``: one address;
- ``redis+sentinel://user:password@host:port,host:port/service/db``: the master of a service.
  ``?sentinel_password=`` and ``?sentinel_username=`` are for the Sentinels themselves;
- ``redis+cluster://host:port,host:port``: any masters of a Redis Cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..errors import OptionError
from .redis_link import Opened, Unplaced

__all__ = [
    "Cluster", "Sentinels", "Url", "client", "door", "failures", "is_final", "refusals", "refuses",
]  # fmt: skip

CONNECT = 1.0  # seconds for TCP, after which it is tried again
ANSWER = 2.0  # seconds for a reply while a connection is made

#: Options that an address cannot change.
_DECIDED = ("protocol", "decode_responses")


def door(url: str) -> Url | Sentinels | Cluster:
    """The way to the Redis at an address. Raises `OptionError` for one that cannot be read."""
    try:
        import redis  # noqa: F401
    except ImportError:
        said = "the bus over Redis needs redis-py: pip install 'rtcio-sync[redis]'"
        raise OptionError(said) from None
    if not isinstance(url, str):
        raise OptionError(
            f"the address of Redis is text, like 'redis://host:6379/0', not {type(url).__name__}"
        )
    scheme, _, rest = url.partition("://")
    kind, _, way = re.sub("^valkey", "redis", scheme).partition("+")
    try:
        if way == "sentinel":
            return Sentinels(f"{kind}://{rest}")
        if way == "cluster":
            return Cluster(f"{kind}://{rest}")
        return Url(f"{kind}://{rest}")
    except (ValueError, TypeError) as error:
        raise OptionError(f"cluster: the address cannot be read: {error}") from None


def client(url: str) -> Callable[[], Any]:
    """Makes clients of redis-py for the same address, which block. Raises `OptionError`.

    For a Redis Cluster, to make one raises what `failures` names if it is out of reach.
    """
    return door(url).client


def refusals() -> tuple[type[Exception], ...]:
    """What such a client raises if Redis answers, but refuses."""
    import redis

    return redis.ResponseError, redis.AuthenticationError, redis.InvalidResponse


def refuses(error: Exception) -> bool:
    """Whether Redis answers, but refuses, as such a client or a `Door` says."""
    if isinstance(error, refusals()) or isinstance(error.__cause__, refusals()):
        return True
    return any(each in str(error) for each in ("max number of clients", "mode is not enabled"))


def failures() -> tuple[type[Exception], ...]:
    """What such a client raises if Redis is out of reach, or refuses."""
    import redis
    from redis.exceptions import RedisClusterException  # no RedisError

    return OSError, redis.RedisError, RedisClusterException


def is_final(error: Exception) -> bool:
    """Whether it makes no sense to try again: the password is wrong, or a right is missing."""
    import redis
    from redis.exceptions import NoPermissionError

    final = redis.AuthenticationError, NoPermissionError
    return isinstance(error, final) or isinstance(error.__cause__, final)


def _pool_of(url: str) -> Any:
    """redis-py's pool of an address; it is only used to make connections."""
    from redis import ConnectionPool

    # How replies are read is decided here, whatever an address says that a cache shares.
    plain, _, query = url.partition("?")
    asked = urlencode([each for each in parse_qsl(query) if each[0] not in _DECIDED])
    pool = ConnectionPool.from_url(f"{plain}?{asked}", **_options(url))
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:  # redis-py says it when it connects
        raise ValueError(f"redis-py does not take an option of it: {error}") from None
    return pool


def _options(url: str) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": ANSWER,
        "retry": Retry(NoBackoff(), 0),  # `Line` tries again
    }
    if not url.startswith("unix:"):
        options |= {"socket_connect_timeout": CONNECT, "socket_keepalive": True}
    return options


def _connected(pool: Any, **other: Any) -> Opened:
    connection: Any = pool.connection_class(**{**pool.connection_kwargs, **other})
    connection.connect()
    return connection  # type: ignore[no-any-return]


class Url:
    """One Redis at an address."""

    def __init__(self, url: str) -> None:
        self._pool = _pool_of(url)
        given = self._pool.connection_kwargs
        host, port = given.get("host", "localhost"), given.get("port", 6379)
        self.where: str = given.get("path") or f"{host}:{port}"

    def client(self) -> Any:
        import redis

        return redis.Redis(connection_pool=self._pool)

    def open(self, place: str) -> Opened:
        return _connected(self._pool)

    def place(self, key: str) -> str:
        return ""

    def lost(self, place: str) -> None:
        """There is no other."""

    def moved(self, error: str) -> bool:
        """`False`: this address is none of a Redis Cluster."""
        return False


class Sentinels:
    """The master of a service, as its Sentinels say whenever a connection is made."""

    def __init__(self, url: str) -> None:
        from redis.sentinel import Sentinel

        parts = urlsplit(url)
        service, _, database = parts.path.strip("/").partition("/")
        hosts = _hosts(parts.netloc, 26379)
        if not service:
            raise ValueError("after the Sentinels, a slash and the name of the service are missing")
        given = dict(parse_qsl(parts.query))
        own = {name: given.pop(f"sentinel_{name}", None) for name in ("username", "password")}
        user, at, _ = parts.netloc.rpartition("@")
        plain = (parts.scheme, f"{user}{at}{hosts[0][0]}", f"/{database}", urlencode(given), "")
        self._pool = _pool_of(urlunsplit(plain))
        options = _options(url) | {name: value for name, value in own.items() if value}
        if parts.scheme == "rediss":
            options["ssl"] = True
        self._sentinel: Any = Sentinel(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._service = service
        self.where = f"the master of {service!r}, as {_listed(hosts)} say"

    def client(self) -> Any:
        return self._sentinel.master_for(self._service, **self._pool.connection_kwargs)

    def open(self, place: str) -> Opened:
        host, port = self._sentinel.discover_master(self._service)
        return _connected(self._pool, host=host, port=port)

    def place(self, key: str) -> str:
        return ""

    def lost(self, place: str) -> None:
        """The Sentinels are asked for each connection."""

    def moved(self, error: str) -> bool:
        """`False`: this address is none of a Redis Cluster."""
        return False


class Cluster:
    """The masters of a Redis Cluster. A place is an address; "": not known yet."""

    def __init__(self, url: str) -> None:
        from redis.crc import key_slot

        parts = urlsplit(url)
        self._hosts = _hosts(parts.netloc, 6379)
        self.where = _listed(self._hosts)
        user, at, _ = parts.netloc.rpartition("@")
        plain = (parts.scheme, f"{user}{at}{self._hosts[0][0]}", "", parts.query, "")
        self._pool = _pool_of(urlunsplit(plain))
        self._slot_of: Callable[[bytes], int] = key_slot
        self._places: dict[int, str] = {}

    def client(self) -> Any:
        from redis.cluster import ClusterNode, RedisCluster

        given = {**self._pool.connection_kwargs}
        for name in ("host", "port", "db"):
            given.pop(name, None)
        made: Any = ClusterNode
        return RedisCluster(startup_nodes=[made(host, port) for host, port in self._hosts], **given)

    def open(self, place: str) -> Opened:
        if not place:
            self._look()
            raise Unplaced
        host, port = _address(place)
        return _connected(self._pool, host=host, port=port)

    def place(self, key: str) -> str:
        return self._places.get(self._slot_of(key.encode()), "")

    def lost(self, place: str) -> None:
        if place:
            self._look()

    def moved(self, error: str) -> bool:
        _, slot, place = error.split()
        self._places[int(slot)] = place
        return True

    def _look(self) -> None:
        """Asks one that answers. Raises what the last one raised."""
        known = dict.fromkeys([*map(_address, {*self._places.values()}), *self._hosts])
        failed: Exception | None = None
        for host, port in known:
            try:
                connection: Any = _connected(self._pool, host=host, port=port)
            except Exception as error:  # noqa: BLE001  (redis-py's, of sockets, of TLS)
                failed = error
                continue
            try:
                connection.send_command("CLUSTER", "SLOTS")
                self._places = _places_in(connection.read_response(), host)
                return
            finally:
                connection.disconnect()
        assert failed is not None
        raise failed


def _places_in(slots: Any, asked: str) -> dict[int, str]:
    places: dict[int, str] = {}
    for first, last, master, *_ in slots:
        name = master[0].decode() if isinstance(master[0], bytes) else master[0]
        place = f"{name or asked}:{master[1]}"
        places.update(dict.fromkeys(range(first, last + 1), place))
    return places


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host, int(port)


def _listed(hosts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{host}:{port}" for host, port in hosts)


def _hosts(netloc: str, usual: int) -> list[tuple[str, int]]:
    found = []
    for each in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{each}")
        if not parts.hostname:
            raise ValueError("the name of a host is missing")
        found.append((parts.hostname, parts.port or usual))
    return found
