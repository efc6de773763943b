"""Every option of `Server`: name, unit, default and meaning of `None`, in one place."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from .config.option_names import FOREIGN, plain, unknown_option, without_old
from .config.option_values import check_value, is_number, is_redis, mended, whole
from .errors import OptionError
from .warned import warn_of_milliseconds

__all__ = ["Limits", "Options"]

AsyncMode = Literal["gevent", "gevent_uwsgi", "threading"]


@dataclass(frozen=True)
class Limits:
    """Limits on one client.

    ``Server(limits=Limits(...))``. `None` for a field lifts only that limit; ``limits=None`` lifts
    all of this class and nothing else. The size of a message is ``max_http_buffer_size``. A client
    over a rate is slowed down and loses nothing; an event over a limit is dropped; what only an
    attacker does closes the connection. `Server.stats` counts each drop and each close, under
    "dropped" or "closed".

    A namespace may have its own limits: ``server.of(name, limits=Limits(...))``. Those marked
    (namespace) apply to its events and sockets. Those marked (widest) apply to a connection: it has
    the widest limits of its namespaces, and the server's while it is in none. The others apply
    before a namespace is known, so only the server has them.

    :events_per_second: (widest) Messages a second that one connection may send in the long run;
        100. Over it, once the burst is used up, the server stops reading from the client for a
        while (it answers a polling request later): TCP slows the sender down and nothing is lost.
        After ten seconds without a break it closes the connection. `None`: no limit.
    :events_burst: (widest) Messages that one connection may send at once, and again after
        ``events_burst / events_per_second`` seconds of rest; 1,000: a mesh of eight joins with some
        300. Over it: ``events_per_second`` applies. `None`: as many as in one second.
    :max_attachments: (namespace) Binary attachments that one event may announce; 10. Over it: the
        connection is closed, as for any packet that cannot be read. `None`: as many as fit
        ``max_http_buffer_size``.
    :max_depth: (namespace) Levels of arrays and objects in an argument of an event or an
        acknowledgement, and in ``auth``; 64. Over it: the event or acknowledgement is dropped, a
        CONNECT is answered with an error, and the connection goes on. `None`: as many as the
        decoders accept; a message of over some 200 levels cannot always be sent on.
    :max_values: (namespace) Values in the arguments of one event or acknowledgement; 100,000. Each
        string, number, constant, array and object counts as one, however long a string is. Over it:
        as for ``max_depth``. `None`: any number, at some 100 bytes of memory each.
    :max_auth_bytes: (namespace) Bytes of a client's ``auth``, as it is sent; 16,384. Over it:
        CONNECT is answered with an error, and the connection goes on. `None`: as many as fit
        ``max_http_buffer_size``.
    :max_auth_values: (namespace) Values in ``auth``, which the server keeps while the client is
        connected; 1,000. Over it: as for ``max_auth_bytes``. `None`: as many as ``max_values``
        allows.
    :max_rooms_per_socket: (namespace) Rooms of one socket, without its own; 64. Over it: joining
        raises `LimitExceeded`, which is counted and not logged as an error. `None`: any number.
    :max_room_name: (namespace) Bytes, or characters, of a room's name, which apps take from clients
        and the server keeps; 1,024. Over it: as for ``max_rooms_per_socket``. `None`: any number.
    :max_packets_per_poll: (widest) Packets in one polling request; 1,000. Over it: the request is
        answered 400 and the session is closed. `None`: as many as fit ``max_http_buffer_size``.
    :max_buffered_bytes: (widest) Bytes of memory of the data that waits for one client to read it,
        or of one message; 64,000,000. Over it: the connection is closed and its rooms are told. If
        the app's own events caused it, a warning names one of them, once a minute. Below it,
        progress decides: a connection with over 1 MB waiting is closed when its client took less
        than 64 kB in the last 5 seconds. `None`: any number.
    :max_namespaces_per_connection: (widest) Namespaces of one connection; 8. Over it: CONNECT is
        answered with an error, and the connection goes on. `None`: any number.
    :connects_per_minute_per_ip: Connections a minute from one address (see ``trusted_proxies``);
        `None`: any number, because behind an undeclared proxy all users have one address. Over it:
        new connections are answered 429.
    :sockets_per_ip: Open connections from one address; `None`: any number, for the same reason.
        Over it: new connections are answered 429.
    :handshake_timeout: Seconds for the headers of a request (under `Server.listen`), the body of a
        polling request, the rest of a body that nobody reads, or the upgrade from polling to
        WebSocket; 10. Over it: that request or WebSocket is closed; a polling session goes on.
        `None`: no limit.
    :connect_timeout: Seconds from the opening of the transport until the client must have joined a
        namespace (Socket.IO's CONNECT); 45. Over it: the connection is closed. `None`: no limit.

    Two bounds have no option. Of a client's first request, whose fields handlers may read, up to
    32 kB are kept; a longer one is answered 431. Up to 1 MB of a client's messages wait for the
    app's handlers; each of their values counts as 100 bytes of memory. Over it, the server stops
    reading from that client until half of them are handled; nothing is lost, and a handler may take
    any time. With ``async_handlers``, an event counts until its handlers have returned; an
    acknowledgement counts until its callback has; of several clients, until those of all are here
    and the callback has returned. Relays never wait for a handler, but while the server does not
    read, they wait too.
    """

    connect_timeout: float | None = 45
    max_attachments: int | None = 10
    max_depth: int | None = 64
    max_values: int | None = 100_000
    max_auth_bytes: int | None = 16_384
    max_auth_values: int | None = 1_000
    max_packets_per_poll: int | None = 1000
    max_buffered_bytes: int | None = 64_000_000
    events_per_second: float | None = 100
    events_burst: int | None = 1000
    connects_per_minute_per_ip: int | None = None
    sockets_per_ip: int | None = None
    max_rooms_per_socket: int | None = 64
    max_room_name: int | None = 1024
    max_namespaces_per_connection: int | None = 8
    handshake_timeout: float | None = 10

    def __new__(cls, *args: Any, **given: Any) -> Limits:
        # A dataclass would raise a TypeError that does not name the fix, or take the first of its
        # fields, which nobody knows.
        if args:
            raise OptionError(
                f"Limits({args[0]!r:.80}): name the limit, as in Limits(events_per_second=100)"
            )
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                ours = {plain(each.name): f"Server({each.name}=…)" for each in fields(Options)}
                raise unknown_option("Limits()", name, known, {**FOREIGN, **ours})
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            fits = is_number(value, above=0)
            if str(each.type).startswith("int"):
                object.__setattr__(self, each.name, whole(value))
                fits = fits and isinstance(whole(value), int)
            if value is not None and not fits:
                kind = "whole number" if str(each.type).startswith("int") else "number"
                raise OptionError(
                    f"Limits({each.name}={value!r:.100}): give a {kind} above 0, or None for no "
                    "limit"
                )
        for name in ("connect_timeout", "handshake_timeout"):
            warn_of_milliseconds(name, getattr(self, name))

    @cached_property
    def burst(self) -> float:
        """Messages that one connection may send before its rate is checked."""
        if self.events_per_second is None:
            return math.inf
        return self.events_per_second if self.events_burst is None else self.events_burst

    def check_for_namespace(self, servers: Limits) -> None:
        """Raises `OptionError` for a limit of a namespace that has no effect there.

        ``servers``: the server's, from which they may be made; theirs are allowed.
        """
        for name in _SERVERS_ALONE:
            value = getattr(self, name)
            if value not in (getattr(servers, name), getattr(DEFAULT_LIMITS, name)):
                raise OptionError(
                    f"limits: {name} applies before a namespace is known, so a namespace cannot "
                    f"have its own: write Server(limits=Limits({name}={value!r:.80}))"
                )

    def widest(self, other: Limits) -> Limits:
        """The wider limit of the two, field by field: the limits of a connection in both."""

        def more(name: str) -> Any:
            one, another = getattr(self, name), getattr(other, name)
            return None if one is None or another is None else max(one, another)

        both = {each.name: more(each.name) for each in fields(self)}
        if both["events_per_second"] is not None:  # then `None` as burst means those of a second
            both["events_burst"] = max(self.burst, other.burst)
        return Limits(**both)


#: The meaning of ``limits=None``.
DEFAULT_LIMITS = Limits()
#: Those that only a server has.
_SERVERS_ALONE = (
    *("connects_per_minute_per_ip", "sockets_per_ip", "handshake_timeout", "connect_timeout"),
)
NO_LIMITS = Limits(**{each.name: None for each in fields(Limits)})


@dataclass(frozen=True)
class Options:
    """The options of one `Server`: ours first, then python-socketio's, then python-engineio's.

    Ours.

    :app: The Flask app to wrap, as `Server.init_app` does. `None`: none yet.
    :path: The URL path of the Socket.IO endpoint.
    :relay_scope: The possible targets of a relay: any socket of the sender's namespace
        (``"namespace"``), or only those that share a room with the sender (``"room"``).
    :drain_seconds: Seconds that a stopping server gives to running handlers and closing
        connections.
    :limits: Limits on one client. `None`: none of `Limits` applies.
    :max_connections: Open connections of this process: WebSockets, and polls that wait for their
        answer. Each takes a descriptor; a request that is sent on to another host
        (``cluster_address``) takes two. Over it, new clients are answered 503. `None`: as many as
        the descriptor limit of the process allows, less a reserve for the app's own files.
    :max_polling_sessions: Polling sessions between two polls, which have no descriptor. Over it,
        the session that has been idle for the longest is closed (counted as "idle-session"), those
        in no namespace first. Their request headers and bookkeeping may take 32 MB in all. `None`:
        as many as ``max_connections``, and at least 1,000.
    :max_buffered_total: Bytes of memory of the data that waits for all clients together; data that
        waits for several counts once. Over it, the slowest clients are closed first. `None`: no
        bound.
    :trusted_proxies: Proxies in front of the server that each append to ``X-Forwarded-For``. A
        client's address is then the entry of the outermost proxy. 0: the header is ignored; the
        address is the peer's, or the one that werkzeug's ProxyFix has set.
    :connection_state_recovery: Whether a client that lost its connection gets its session back:
        `True`, or a dict of ``max_disconnection_duration`` (120 seconds), ``skip_middlewares``
        (`True`), ``max_recovery_bytes`` (1 MB) and ``max_recovery_total`` (64 MB, of all sessions
        together). Sessions are kept in this process's memory.
    :cluster: Several processes as one server: `None`: the workers of the same gunicorn, on gevent,
        find each other; the address of a Redis, like ``redis://host:6379/0``: the same for all
        processes of all hosts that use it (needs the extra ``redis``); `False`: each process
        works alone. For `None`, the Flask config ``RTCIO_CLUSTER`` and the environment variable
        ``RTCIO_CLUSTER`` may name a Redis, or say ``off``.
    :cluster_required: Whether the server fails to start (`OSError`) if the Redis of ``cluster``
        does not answer, or (`OptionError`) if nothing names one. `False`: it serves its own
        clients until Redis does.
    :cluster_prefix: The beginning of all of its keys in the Redis of ``cluster``: servers with
        different prefixes are apart.
    :cluster_address: The host and port at which the other hosts of a ``cluster`` reach this server,
        as ``"10.0.0.5:8000"``. Requests for sessions of this host that a load balancer has sent to
        another one are then sent on to it. `None`: they are answered 400 there, and the client
        begins a new session.
    :cluster_external: The name under which other programs emit to the clients of a ``cluster``,
        over the same Redis: the channel of python-socketio's write-only managers (``"socketio"`` by
        default there), and the key of Node's ``@socket.io/redis-emitter`` (``"socket.io"`` by
        default there). `None`: no name. A `rtcio_sync.Emitter` does not need it.
    :cluster_secret: At least 16 characters that all hosts of a ``cluster`` know and others do not.
        The passwords of `Lobby` rooms pass through Redis as digests with this key. `None`: with a
        key that is not secret.

    python-socketio's.

    :client_manager: A python-socketio client manager, for several processes. `None`: one process.
    :logger: `True` or a logger for python-socketio's own messages, with ids cut short and text of
        clients escaped. `True`: ``rtcio_sync.upstream.socketio``, at info level unless it has a
        level of its own. `False`: the same logger, errors only. No handler is added to it.
    :serializer: ``"default"``, ``"msgpack"`` or a packet class of the app.
    :json: A JSON module (``dumps``, ``loads``) for this server only. `None`: orjson, and the
        standard module for values that orjson refuses.
    :async_handlers: `None` or `False`: the handlers of one connection run in order. `True`: in
        parallel, as in python-socketio, each event in a greenlet.
    :always_connect: Accept a connection before its ``connect`` handler runs instead of after.
    :namespaces: Namespaces accepted without a handler, or ``"*"``. `None`: ``["/"]``.

    python-engineio's.

    :async_mode: `None`: ``"gevent"``, or threads under a WSGI server that runs on threads.
    :ping_interval: Seconds between two pings, or ``(seconds, grace)``.
    :ping_timeout: Seconds that a client has to answer a ping. The sum with the interval is the time
        until a pulled cable is noticed; 20 s is less than ICE consent freshness (RFC 7675: 30 s).
    :max_http_buffer_size: Bytes of one message with all its binary attachments, or of one polling
        request. Over it: the connection is closed.
    :allow_upgrades: Whether a polling client may upgrade to a WebSocket.
    :http_compression: Whether polling answers are compressed.
    :compression_threshold: The number of bytes from which a polling answer is compressed.
    :cookie: A cookie for the polling handshake: its name, or a dict of its attributes; `True`:
        ``"io"``. `None` or `False`: no cookie.
    :cors_allowed_origins: Origins that may connect: one, several, compiled regular expressions, a
        callable, ``"*"`` for any; ``[]`` turns the check off. `None`: the server's own origin.
    :cors_credentials: Whether other origins may send cookies.
    :monitor_clients: `None` or `True`: a client that does not answer a ping is disconnected.
        `False`: it stays connected.
    :transports: ``"polling"``, ``"websocket"`` or both. `None`: both.
    :engineio_logger: `True` or a logger for python-engineio's own messages, as for ``logger``;
        `True`: ``rtcio_sync.upstream.engineio``. `None` or `False`: errors only. Unlike in
        python-engineio, packets are never logged.
    """

    # -- ours ----------------------------------------------------------------------------------
    app: Any = None
    path: str = "/socket.io"
    relay_scope: Literal["namespace", "room"] = "namespace"
    drain_seconds: float = 1
    limits: Limits = Limits()
    max_connections: int | None = None
    max_polling_sessions: int | None = None
    max_buffered_total: int | None = 256_000_000
    trusted_proxies: int = 0
    connection_state_recovery: Any = False

    cluster: Any = None
    cluster_required: bool = False
    cluster_prefix: str = "rtcio"
    cluster_address: str | None = None
    cluster_external: str | None = None
    cluster_secret: str | bytes | None = field(default=None, repr=False)

    # -- python-socketio's -----------------------------------------------------------------------
    client_manager: Any = None
    logger: Any = False
    serializer: Any = "default"
    json: Any = None
    async_handlers: bool | None = None
    always_connect: bool = False
    namespaces: Any = None

    # -- python-engineio's -----------------------------------------------------------------------
    async_mode: AsyncMode | None = None
    ping_interval: Any = 10
    ping_timeout: float = 10
    max_http_buffer_size: int = 1_000_000
    allow_upgrades: bool = True
    http_compression: bool = True
    compression_threshold: int = 1024
    cookie: Any = None
    cors_allowed_origins: Any = None
    cors_credentials: bool = True
    monitor_clients: bool | None = None
    transports: Any = None
    engineio_logger: Any = None

    #: The names that the caller gave, for rules that tell a given value from a default.
    given: frozenset[str] = field(default=frozenset(), repr=False)

    #: Options that only a newer python-socketio or python-engineio knows: passed on unchanged.
    passed: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], upstream: Collection[str] = ()) -> Options:
        """The options of a call ``Server(**given)``.

        ``upstream``: the options that the installed python-socketio and python-engineio accept;
        those that are unknown here are passed on to them. Raises `OptionError` for any other
        unknown name, for an invalid value and for two values that contradict each other. Warns
        (`DeprecationWarning`) of each option that only their older releases had.
        """
        found, old = without_old(given)
        for warning in old:
            warnings.warn(warning, DeprecationWarning, stacklevel=3)
        known = {each.name for each in fields(cls)} - {"given", "passed"}
        accepted, passed = {}, {}
        for name, value in found.items():
            if name in known:
                check_value(name, value)
                accepted[name] = mended(name, value)
            elif name in upstream:
                passed[name] = value
            else:
                limits = [each.name for each in fields(Limits)]
                raise unknown_option("Server()", name, known, limits=limits, value=value)
        if "limits" in accepted and accepted["limits"] is None:
            accepted["limits"] = NO_LIMITS
        options = replace(cls(), given=frozenset(accepted), passed=passed, **accepted)
        for rule in _RULES:
            rule(options)
        for name in ("ping_interval", "ping_timeout"):
            warn_of_milliseconds(name, getattr(options, name))
        return options

    @property
    def ping_every(self) -> float:
        """Seconds between two pings, the grace period included."""
        if isinstance(self.ping_interval, tuple):
            return float(self.ping_interval[0]) + float(self.ping_interval[1])
        return float(self.ping_interval)


def _check_limits(options: Options) -> None:
    if not isinstance(options.limits, Limits):
        raise OptionError(
            f"limits={options.limits!r:.100}: give a Limits(...), such as "
            "Limits(events_per_second=100), or None for no limits"
        )


def transports_of(options: Options) -> list[str]:
    """The transports that ``options`` allow, polling first."""
    chosen = options.transports
    return [each for each in ("polling", "websocket") if chosen is None or each in chosen]


#: Options that mean nothing without other hosts.
CLUSTER_ONLY = frozenset(
    {"cluster_address", "cluster_external", "cluster_prefix", "cluster_required", "cluster_secret"}
)


def _check_contradictions(options: Options) -> None:
    given = options.given
    if "allow_upgrades" in given and options.allow_upgrades and len(transports_of(options)) == 1:
        raise OptionError("allow_upgrades=True needs both transports, but transports= has only one")
    if "cors_credentials" in given and options.cors_credentials:
        origins = options.cors_allowed_origins
        if isinstance(origins, (list, tuple)) and not origins:
            raise OptionError("cors_credentials=True has no effect with cors_allowed_origins=[]")
    if not options.http_compression and "compression_threshold" in given:
        raise OptionError("compression_threshold has no effect with http_compression=False")
    if options.cluster and options.client_manager is not None:
        raise OptionError("cluster and client_manager both connect processes: give only one")
    if is_redis(options.cluster):
        if options.async_mode == "threading":
            raise OptionError("cluster needs gevent: leave out async_mode='threading'")
    elif options.cluster is not None or options.client_manager is not None:
        for name in sorted(CLUSTER_ONLY & given):
            raise OptionError(f"{name} needs cluster='redis://…'")
    if options.json is not None and options.serializer == "msgpack":
        raise OptionError("json has no effect with serializer='msgpack'; remove one of the two")
    if getattr(options.client_manager, "write_only", False) is True:
        raise OptionError("client_manager: a server has to listen; leave out write_only=True")


_RULES = (_check_limits, _check_contradictions)


def engineio_options(options: Options) -> dict[str, Any]:
    """What goes to `engineio.Server`; its JSON module stays its own (it is a process-wide one)."""
    names = (
        "ping_interval ping_timeout max_http_buffer_size allow_upgrades http_compression "
        "compression_threshold cookie cors_allowed_origins cors_credentials transports"
    )
    chosen = {name: getattr(options, name) for name in names.split()}
    chosen["async_mode"] = options.async_mode or "gevent"
    return chosen
