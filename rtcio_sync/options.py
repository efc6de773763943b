"""Every option of `Server`, each with its one home here: name, unit, default, meaning of `None`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from .config.names import FOREIGN, plain, unknown_option, without_old
from .config.values import check_value, is_number, mended, whole
from .errors import OptionError

__all__ = ["Limits", "Options"]

MILLISECONDS = 5000  # from here on a number of seconds was most likely meant as milliseconds

AsyncMode = Literal["gevent", "gevent_uwsgi", "threading"]


@dataclass(frozen=True)
class Limits:
    """What one client may cost.

    ``Server(limits=Limits(...))``; `None` for a field lifts that limit alone. ``limits=None`` lifts
    all that this class holds and nothing else. The size of a message is ``max_http_buffer_size``.
    A client over a rate is slowed down and loses nothing; an event that holds too much is dropped;
    what only an attacker does closes the connection. Each drop and each close is counted:
    `Server.stats`, under "dropped" or "closed".

    A namespace may have its own, by ``server.of(name, limits=Limits(...))``: those marked
    (namespace) are the event's or the socket's, those marked (widest) are the connection's, which
    has the most generous of the namespaces that it is in, and the server's while it is in none. The
    others hold before a namespace is known, and are the server's alone.

    :events_per_second: (widest) Messages a second that one connection may send in the long run;
        100. Over it, once the burst is used
        up, the server reads no more from it for a while (a polling request is answered later), so
        that TCP slows the sender down and nothing is lost; after ten seconds without a break the
        connection is closed. `None`: as many as it can.
    :events_burst: (widest) Messages that it may send at once, and then again after a rest of
        ``events_burst / events_per_second`` seconds; 1,000: a mesh of eight joins with some 300.
        Over it: the rate holds. `None`: as many as in one second.
    :max_attachments: (namespace) Binary attachments that one event may announce; 10. Over it: the
        connection is closed, as for any packet that cannot be read. `None`: as many as fit
        ``max_http_buffer_size``.
    :max_depth: (namespace) Levels of arrays and objects that an argument of an event, or of an
        acknowledgement, and ``auth`` may have; 64. Over it: that event or acknowledgement is
        dropped, a CONNECT answered with an error, and the connection goes on. `None`: as many as
        the decoders take; what has over some 200 then cannot always be sent on.
    :max_values: (namespace) Values that the arguments of one event or acknowledgement may hold;
        100,000. Each string, number, constant, array and object counts as one, however long a
        string is. Over it: as for ``max_depth``. `None`: any number, at some 100 bytes of memory
        each.
    :max_auth_bytes: (namespace) Bytes of the ``auth`` of a client, as it is sent; 16,384. Over it:
        CONNECT is answered with an error, and the connection goes on. `None`: as many as fit
        ``max_http_buffer_size``.
    :max_auth_values: (namespace) Values in ``auth``, which the server keeps as long as the client
        is connected; 1,000. Over it: as for ``max_auth_bytes``. `None`: as many as ``max_values``
        allows.
    :max_rooms_per_socket: (namespace) Rooms that one socket may be in, its own left out; 64. Over
        it: joining raises `LimitExceeded`, which is counted and not logged as an error. `None`: any
        number.
    :max_room_name: (namespace) Bytes, or characters, of a room's name, which apps take from their
        clients and the server keeps; 1,024. Over it: as for ``max_rooms_per_socket``. `None`: any
        number.
    :max_packets_per_poll: (widest) Packets in one polling request; 1,000. Over it: the request is
        answered 400 and the session closed. `None`: as many as fit ``max_http_buffer_size``.
    :max_buffered_bytes: (widest) Bytes of memory that one connection may take up with what waits
        for its client to read it, one message included; 64,000,000. Over it: the connection is
        closed and its rooms are told; where the app's own events did it, a warning once a minute
        names one. Below it progress decides: a connection for which over 1 MB waits is closed when
        its client took less than 64 kB in the last 5 seconds. `None`: any number.
    :max_namespaces_per_connection: (widest) Namespaces that one connection may be in; 8. Over it:
        CONNECT is answered with an error, and the connection goes on. `None`: any number.
    :connects_per_minute_per_ip: Connections a minute from one address (see ``trusted_proxies``);
        `None`: any number, because behind a proxy that is not declared all users have one address.
        Over it: new ones are answered 429.
    :sockets_per_ip: Open connections from one address; `None`: any number, for the same reason.
        Over it: new ones are answered 429.
    :handshake_timeout: Seconds that a client may take over a request's headers (under
        `Server.listen`), a polling request's body, the rest of a body that nobody reads, or the
        move from polling to a WebSocket; 10.
        Over it: that request or WebSocket is closed, a session on polling goes on. `None`: as long
        as it likes.
    :connect_timeout: Seconds from the transport's opening until the client must have joined a
        namespace (Socket.IO's CONNECT); 45. Over it: the connection is closed. `None`: it may stay
        as it is.

    No option: up to 1 MB of what a client has sent waits for the app's handlers, each of its values
    counted as 100 bytes of memory; and of its first request, whose fields handlers may look at, up
    to 32 kB are kept, over which it is answered 431. Over the first the server
    reads no more from that client until half of that is handled; nothing is lost, and a handler
    may take as long as it likes. Relays never wait for a handler; while nothing is read, they wait
    with the client.
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
        # A dataclass would raise a TypeError that does not name the fix.
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
                    f"Limits({each.name}={value!r}): give a {kind} above 0, or None for no limit"
                )

    @property
    def burst(self) -> float:
        """Messages that one connection may send before its rate is looked at."""
        if self.events_per_second is None:
            return math.inf
        return self.events_per_second if self.events_burst is None else self.events_burst

    def widest(self, other: Limits) -> Limits:
        """The more generous of the two, field by field: what a connection in both has."""

        def more(name: str) -> Any:
            one, another = getattr(self, name), getattr(other, name)
            return None if one is None or another is None else max(one, another)

        both = {each.name: more(each.name) for each in fields(self)}
        if both["events_per_second"] is not None:  # there `None` for the burst is a second's worth
            both["events_burst"] = max(self.burst, other.burst)
        return Limits(**both)


#: What ``limits=None`` stands for.
NO_LIMITS = Limits(**{each.name: None for each in fields(Limits)})


@dataclass(frozen=True)
class Options:
    """The options of one `Server`: ours first, then python-socketio's, then python-engineio's."""

    # -- ours ----------------------------------------------------------------------------------
    #: The Flask app to wrap, as `Server.init_app` does. `None`: none for now.
    app: Any = None
    #: The URL path of the Socket.IO endpoint.
    path: str = "/socket.io"
    #: Who may be the target of a relay: any socket of the sender's namespace (``"namespace"``) or
    #: only one that shares a room with the sender (``"room"``).
    relay_scope: Literal["namespace", "room"] = "namespace"
    #: Seconds that a stopping server gives to running handlers and closing connections.
    drain_seconds: float = 1
    #: What one client may cost. `None`: nothing that `Limits` holds is limited.
    limits: Limits = Limits()
    #: Open connections of this process: WebSockets, and polls that wait for their answer. Each
    #: takes a descriptor. Over it, new clients are answered 503. `None`: what the descriptor limit
    #: of the process allows, less a reserve for the app's own files.
    max_connections: int | None = None
    #: Polling sessions that are between two polls, and so have no descriptor. Over it, the session
    #: that has been idle for the longest is closed (counted as "idle-session"), those in no
    #: namespace first. Their request headers and book-keeping may take 32 MB in all. `None`: as
    #: many as ``max_connections``, and 1,000 at least.
    max_polling_sessions: int | None = None
    #: Bytes of memory that all connections together may take up with what waits for their clients;
    #: what waits for several counts once. Over it, the slowest are closed first. `None`: no bound.
    max_buffered_total: int | None = 256_000_000
    #: Proxies in front of the server that each append to ``X-Forwarded-For``: a client's address is
    #: then the entry that the outermost of them wrote. 0: the header is not looked at; the address
    #: is the peer's, or what werkzeug's ProxyFix made of it.
    trusted_proxies: int = 0
    #: Whether a client that lost its connection gets its session back: `True`, or a dict of
    #: ``max_disconnection_duration`` (120 seconds), ``skip_middlewares`` (`True`) and
    #: ``max_recovery_bytes`` (1 MB) and ``max_recovery_total`` (64 MB, of all sessions together).
    #: Sessions live in this process's memory.
    connection_state_recovery: Any = False

    # -- python-socketio's -----------------------------------------------------------------------
    #: A python-socketio client manager, for several processes. `None`: this process alone.
    client_manager: Any = None
    #: `True` or a logger for python-socketio's own messages; they go to it with ids cut short and
    #: clients' words made harmless. `True`: ``rtcio_sync.socketio``, at info unless it has a level
    #: of its own; `False`: that one, errors alone. No handler is ever added to it.
    logger: Any = False
    #: ``"default"``, ``"msgpack"`` or a packet class of one's own.
    serializer: Any = "default"
    #: A JSON module (``dumps``, ``loads``) for this server alone. `None`: orjson, and the standard
    #: one for what orjson refuses.
    json: Any = None
    #: `None`: the handlers of one connection run in order. `True`: python-socketio's parallel
    #: greenlets, one an event. `False`: in order too.
    async_handlers: bool | None = None
    #: Accept a connection before its ``connect`` handler runs instead of after.
    always_connect: bool = False
    #: Namespaces accepted without a handler, or ``"*"``. `None`: ``["/"]``.
    namespaces: Any = None

    # -- python-engineio's -----------------------------------------------------------------------
    #: `None`: ``"gevent"``, or threads where Werkzeug's own server asks for them.
    async_mode: AsyncMode | None = None
    #: Seconds between two pings, or ``(seconds, grace)``.
    ping_interval: Any = 10
    #: Seconds that a client has to answer a ping. With the interval: how long a cut cable goes
    #: unnoticed; 20 s stays ahead of ICE consent freshness (RFC 7675: 30 s).
    ping_timeout: float = 10
    #: Bytes that one message, or one polling request, may have.
    max_http_buffer_size: int = 1_000_000
    #: Whether a polling client may move to a WebSocket.
    allow_upgrades: bool = True
    #: Whether polling answers are compressed.
    http_compression: bool = True
    #: Bytes from which a polling answer is compressed.
    compression_threshold: int = 1024
    #: A cookie for the polling handshake: its name, or a dict of its attributes; `True`: ``"io"``.
    #: `None` or `False`: no cookie.
    cookie: Any = None
    #: Origins that may connect: one, several, compiled regular expressions, a callable, ``"*"``
    #: for any; ``[]`` switches the check off. `None`: the server's own origin.
    cors_allowed_origins: Any = None
    #: Whether other origins may send cookies.
    cors_credentials: bool = True
    #: `False`: no ping time-out is enforced.
    monitor_clients: bool | None = None
    #: ``"polling"``, ``"websocket"`` or both. `None`: both.
    transports: Any = None
    #: `True` or a logger for python-engineio's own messages, as ``logger``; `True`:
    #: ``rtcio_sync.engineio``. Packets are never among them, as they are with python-engineio.
    engineio_logger: Any = None

    #: The names that the caller gave, for the rules that tell "asked for" from "by default".
    given: frozenset[str] = field(default=frozenset(), repr=False)

    #: What only a newer python-socketio or python-engineio knows: passed to it as it is.
    passed: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], upstream: Collection[str] = ()) -> Options:
        """The options of a call ``Server(**given)``.

        ``upstream``: what the installed python-socketio and python-engineio accept; of these, what
        is not known here goes to them. Raises `OptionError` for any other unknown name, for a value
        that cannot be meant and for two that contradict each other; warns once
        (`DeprecationWarning`) of each option that only older releases of theirs had.
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
                raise unknown_option("Server()", name, known, limits=limits)
        if "limits" in accepted and accepted["limits"] is None:
            accepted["limits"] = NO_LIMITS
        options = replace(cls(), given=frozenset(accepted), passed=passed, **accepted)
        for rule in _RULES:
            rule(options)
        for name in ("ping_interval", "ping_timeout"):
            value = getattr(options, name)
            if isinstance(value, (int, float)) and value >= MILLISECONDS:
                warnings.warn(
                    f"{name}={value} is in seconds: did you mean {value / 1000:g}, as Socket.IO's "
                    f"{value} on Node, in milliseconds?",
                    UserWarning,
                    stacklevel=3,
                )
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


def _check_contradictions(options: Options) -> None:
    given = options.given
    if "allow_upgrades" in given and options.allow_upgrades and len(transports_of(options)) == 1:
        raise OptionError("allow_upgrades=True needs both transports, and transports names one")
    if "cors_credentials" in given and options.cors_credentials:
        origins = options.cors_allowed_origins
        if isinstance(origins, (list, tuple)) and not origins:
            raise OptionError("cors_credentials=True says nothing while cors_allowed_origins=[]")
    if not options.http_compression and "compression_threshold" in given:
        raise OptionError("compression_threshold says nothing while http_compression=False")
    if options.json is not None and options.serializer == "msgpack":
        raise OptionError("json says nothing while serializer='msgpack'; drop one of the two")
    if getattr(options.client_manager, "write_only", False) is True:
        raise OptionError("client_manager: a server has to listen too; leave out write_only=True")


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
