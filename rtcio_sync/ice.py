"""STUN and TURN servers for browsers behind a NAT, with short-lived TURN credentials.

Pure functions; the clock is an argument. They make the ``iceServers`` of an ``RTCPeerConnection``
(W3C WebRTC, ``RTCIceServer``) and the credentials of coturn's REST scheme. In this scheme the two
servers share a secret and need no connection to each other (coturn: ``use-auth-secret`` and
``static-auth-secret``; "A REST API For Access To TURN Services", draft-uberti-behave-turn-rest).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from .errors import OptionError

__all__ = ["IceServer", "TurnCredentials", "ice_servers", "servers_in", "turn_credentials"]

# A TURN server refuses a longer USERNAME attribute (RFC 8489 section 14.3: fewer than 509 bytes).
_MAX_USERNAME = 508


class TurnCredentials(TypedDict):
    """Credentials for a TURN server: the name holds the expiry, the credential proves it."""

    username: str
    credential: str


class IceServer(TypedDict, total=False):
    """An ``RTCIceServer`` as JSON; only TURN servers have credentials."""

    urls: list[str]
    username: str
    credential: str


def turn_credentials(
    secret: str | bytes,
    ttl: int = 600,
    user: str | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> TurnCredentials:
    """Credentials that a TURN server with the same secret accepts until they expire.

    ``secret``: coturn's ``static-auth-secret``. ``ttl``: whole seconds from now, 600 by default. An
    allocation may be refreshed until then, so ``ttl`` bounds the use of a stolen credential; a call
    that asks for new credentials may go on. ``user``: a name for the TURN server's log; `None`: no
    name. ``now``: the clock, Unix time in seconds.

    ``username`` is ``expiry`` or ``expiry:user``; ``credential`` is the base64 of
    HMAC-SHA1(secret, username). Raises `OptionError` (a `ValueError`) for an empty secret, a
    ``ttl`` that is not a positive whole number, or a user that is empty or too long for TURN.
    """
    key = _bytes(secret)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl < 1:
        raise OptionError(f"ttl must be a whole number of seconds, at least 1, not {ttl!r}")
    if not callable(now):
        raise OptionError(
            f"now={now!r:.100}: give a function that returns the time, or leave it out"
        )
    username = str(int(now()) + ttl)
    if user is not None:
        if not isinstance(user, str) or not user:
            raise OptionError("user must be a non-empty string, or be left out")
        username = f"{username}:{user}"
    message = _encoded(username)
    digest = hmac.new(key, message, hashlib.sha1).digest()
    return {"username": username, "credential": base64.b64encode(digest).decode("ascii")}


def ice_servers(
    *,
    stun: str | Iterable[str] = (),
    turn: str | Iterable[str] = (),
    secret: str | bytes | None = None,
    ttl: int = 600,
    user: str | None = None,
    now: Callable[[], float] = time.time,
) -> list[IceServer]:
    """The ``iceServers`` of an ``RTCPeerConnection``, with new credentials at every call.

    ``stun``: servers as ``host``, ``host:port``, or a whole ``stun:`` or ``stuns:`` URL.
    ``turn``: the same with ``turn:`` (without TLS; UDP and TCP, unless ``?transport=`` names one)
    and ``turns:`` (TLS over TCP; write it out, because many TURN servers have no certificate). Give
    one server as a string, several as any iterable. Without a port, the protocol's default holds
    (RFC 7064, RFC 7065: 3478, or 5349 with TLS).

    ``secret``, ``ttl``, ``user`` and ``now`` are as for `turn_credentials`. Only TURN needs the
    secret. Without any server the list is empty, and a browser finds only peers in its own network.

    Raises `OptionError` (a `ValueError`) for an invalid server, for TURN servers without a secret
    (a browser throws on a TURN server without credentials), and for a secret without TURN servers.
    """
    stun_urls = [_stun_url(item) for item in _several("stun", stun)]
    turn_urls = [url for item in _several("turn", turn) for url in _turn_urls(item)]
    servers: list[IceServer] = []
    if stun_urls:
        servers.append({"urls": stun_urls})
    if turn_urls:
        if secret is None:
            raise OptionError(
                "TURN servers need secret=, the static-auth-secret of their configuration"
            )
        credentials = turn_credentials(secret, ttl, user, now=now)
        servers.append({"urls": turn_urls, **credentials})
    elif secret is not None:
        raise OptionError("secret= is for TURN servers: name them in turn=")
    return servers


def servers_in(given: Any) -> list[dict[str, Any]]:
    """The servers that an app gives for ``ask-ice``. Raises `OptionError` for anything else."""
    fix = "give a list of dicts with 'urls', as rtcio_sync.ice_servers(stun=…) returns it"
    if given is None:
        return []
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise OptionError(f"ice_servers: {given!r:.100} is no list of servers: {fix}")
    servers = list(given)
    for server in servers:
        if not isinstance(server, Mapping) or "urls" not in server:
            raise OptionError(f"ice_servers: {server!r:.100} is no server: {fix}")
    return [dict(server) for server in servers]


def _bytes(secret: str | bytes) -> bytes:
    if not isinstance(secret, (str, bytes)) or not secret:
        raise OptionError(
            "secret must be a non-empty string: the static-auth-secret of the TURN server"
        )
    try:
        return secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise OptionError("secret must be text that can be encoded as UTF-8") from None


def _encoded(username: str) -> bytes:
    try:
        encoded = username.encode()
    except UnicodeEncodeError:
        raise OptionError("user must be text that can be encoded as UTF-8") from None
    if len(encoded) > _MAX_USERNAME:
        raise OptionError(
            f"user is too long: with the expiry it takes {len(encoded)} bytes, "
            f"and TURN allows {_MAX_USERNAME}"
        )
    return encoded


def _several(name: str, value: str | Iterable[str]) -> list[str]:
    if isinstance(value, Mapping):
        raise OptionError(f"{name} takes hosts, not {value!r:.100}: give what its 'urls' has")
    if not isinstance(value, Iterable):
        raise OptionError(
            f"{name} takes a host or several, not {value!r:.100}: leave it out for none"
        )
    items = [value] if isinstance(value, str) else list(value)
    for item in items:
        if not isinstance(item, str):
            raise OptionError(f"{name} takes hosts as strings, not {item!r}")
    return items


# [<scheme>:]<host>[:<port>][?transport=<transport>], the host a name, an IPv4 address or an IPv6
# address in brackets (RFC 7064 section 3.1, RFC 7065 section 3.1)
_SERVER = re.compile(
    r"(?:(?P<scheme>stuns?|turns?):)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?transport=(?P<transport>udp|tcp))?",
    re.IGNORECASE,
)


def _parts(item: str, kind: str) -> tuple[str, str, str | None]:
    """Scheme, ``host[:port]`` and transport of one server of a kind, ``stun`` or ``turn``."""
    example = f"{kind}.example.com or {kind}:{kind}.example.com:3478"
    match = _SERVER.fullmatch(item)
    if match is None:
        raise OptionError(
            f"{item!r} is not a {kind.upper()} server: write it like {example}"
            " (no //; an IPv6 address in brackets)"
        )
    scheme = (match["scheme"] or kind).lower()
    if scheme.rstrip("s") != kind:
        raise OptionError(f"{item!r} is not a {kind.upper()} server: move it to the other list")
    host, port = match["host"], match["port"]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise OptionError(f"{item!r} has no valid IPv6 address in its brackets") from None
    if port is not None and not 0 < int(port) < 65536:
        raise OptionError(f"{item!r} has a port outside 1 to 65535")
    where = host if port is None else f"{host}:{port}"
    return scheme, where, match["transport"] and match["transport"].lower()


def _stun_url(item: str) -> str:
    scheme, where, transport = _parts(item, "stun")
    if transport is not None:
        # A browser throws a SyntaxError on it (RFC 7064 knows no query).
        raise OptionError(f"{item!r}: a STUN URL takes no ?transport=; leave it out")
    return f"{scheme}:{where}"


def _turn_urls(item: str) -> list[str]:
    scheme, where, transport = _parts(item, "turn")
    if scheme == "turns":
        if transport == "udp":
            raise OptionError(f"{item!r}: turns: is TLS over TCP; write ?transport=tcp or nothing")
        return [f"turns:{where}?transport=tcp"]
    transports = ("udp", "tcp") if transport is None else (transport,)
    return [f"turn:{where}?transport={name}" for name in transports]
