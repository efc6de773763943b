"""The arguments of `Server.listen`, checked before anything is opened; TLS."""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent.ssl
from gevent.pywsgi import WSGIHandler

from ..config.option_names import LISTEN, unknown_option
from ..errors import OptionError
from ..functions import check_plain

__all__ = ["Listening"]

_TLS = ("ssl_context", "keyfile", "certfile", "ca_certs", "cert_reqs", "ciphers", "ssl_version")
#: What pywsgi's server takes, and Werkzeug's does not.
_PYWSGI = (
    "backlog",
    "spawn",
    "log",
    "error_log",
    "handler_class",
    "environ",
    "do_handshake_on_connect",
    "suppress_ragged_eofs",
)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _is_log(value: Any) -> bool:
    return value == "default" or hasattr(value, "write") or hasattr(value, "log")


_LOG = "give a file, a logger, or None for no lines"
#: What fits an option of pywsgi's server, which would fail later, or in words of its own.
_FITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "backlog": (_is_count, "give the number of connections that may wait to be accepted"),
    "spawn": (
        lambda value: _is_count(value) or callable(value) or hasattr(value, "spawn"),
        "give a gevent.pool.Pool, the size of one, or a function that starts a greenlet",
    ),
    "log": (_is_log, _LOG),
    "error_log": (_is_log, _LOG),
    "environ": (lambda value: isinstance(value, Mapping), "give a dict"),
    "handler_class": (
        lambda value: isinstance(value, type) and issubclass(value, WSGIHandler),
        "give a subclass of gevent.pywsgi.WSGIHandler",
    ),
}


@dataclass(frozen=True)
class Listening:
    """The arguments of `Server.listen`, checked and converted."""

    port: int
    host: str
    #: The WSGI application; `None`: the one that the server wraps, if any.
    app: Any = None
    #: Called with the port once clients can connect; `None`: a line in the log.
    ready: Callable[[int], Any] | None = None
    #: The TLS context; `None`: plain TCP.
    tls: Any = None
    #: For ``pywsgi.WSGIServer``.
    pywsgi: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        port: Any,
        host: Any,
        options: Mapping[str, Any],
        *,
        threads: bool,
        of_server: Collection[str] = (),
    ) -> Listening:
        """Raises `OptionError` for an invalid argument, and for an unknown one.

        ``of_server``: the names of `Server`'s own options.
        """
        known = {"port", "host", "app", "ready", *_TLS, *_PYWSGI}
        for name in options:
            if name not in known:
                raise unknown_option("listen()", name, known, LISTEN, of_server=of_server)
            if threads and name in _PYWSGI:
                raise OptionError(f"{name} is for gevent's server; leave it out on threads")
        app, ready = options.get("app"), options.get("ready")
        _check_app(app)
        if ready is not None:
            _check_ready(ready)
        for name, (fits, fix) in _FITS.items():
            if options.get(name) is not None and not fits(options[name]):
                raise OptionError(f"{name}={options[name]!r:.100}: {fix}")
        given = {name: options[name] for name in _TLS if options.get(name) is not None}
        return cls(
            port=_port(port),
            host=_host(host),
            app=app,
            ready=ready,
            tls=_tls(given, ssl.SSLContext if threads else gevent.ssl.SSLContext),
            pywsgi={name: options[name] for name in _PYWSGI if name in options},
        )


def _port(port: Any) -> int:
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)  # as it stands in an environment variable
    if callable(port):
        raise OptionError(f"port={port!r:.100}: write listen(port, app=app)")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        swapped = isinstance(port, str) and not port.isdigit()
        raise OptionError(
            f"port={port!r:.100}: give a number from 0 (any free port) to 65535"
            + (", and the host after it: listen(3001, host='0.0.0.0')" if swapped else "")
        )
    return port


def _host(host: Any) -> str:
    fix = "give a name or an address, like '127.0.0.1', '0.0.0.0' (all of IPv4) or '::' (all)"
    if isinstance(host, Mapping):
        fix = "give options by their names: listen(port, host=…), and those of Server to Server"
    elif hasattr(host, "wsgi_app"):
        fix = "write listen(port, app=app)"
    elif callable(host):
        fix = "write listen(port, ready=…) for what is called once clients can connect"
    if not isinstance(host, str) or not host or host != host.strip() or "/" in host:
        raise OptionError(f"host={host!r:.100}: {fix}")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if plain.count(":") == 1:
        raise OptionError(f"host={host!r}: {fix}; the port is a separate argument")
    return plain


def _check_ready(given: Any) -> None:
    try:
        if callable(given):
            check_plain(given)
            inspect.signature(given).bind(0)
            return
    except ValueError:  # some built-ins have no signature
        return
    except TypeError:
        pass
    raise OptionError(f"ready={given!r:.100}: give a plain function of the port: fn(port)")


def _check_app(app: Any) -> None:
    if app is None:
        return
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        raise OptionError(f"app={app!r:.100}: it is for asyncio (ASGI); give a WSGI application")
    if not callable(app):
        raise OptionError(f"app={app!r:.100}: give the WSGI application itself, like a Flask app")


# -- TLS -------------------------------------------------------------------------------------------


def _tls(given: Mapping[str, Any], kind: type[ssl.SSLContext]) -> Any:
    if not given:
        return None
    context = given.get("ssl_context")
    if context is None:
        if "certfile" not in given:
            raise OptionError(f"{next(iter(given))}: TLS needs certfile, too")
        return _made(given, kind)
    if len(given) > 1:
        raise OptionError("ssl_context has all TLS settings: leave out keyfile, certfile and so on")
    if context == "adhoc":
        context = _adhoc()
    elif isinstance(context, (tuple, list)) and len(context) == 2:
        return _made({"certfile": context[0], "keyfile": context[1]}, kind)
    if not isinstance(context, ssl.SSLContext):
        raise OptionError(
            f"ssl_context={context!r:.100}: give (certfile, keyfile) or an ssl.SSLContext"
        )
    ours = isinstance(context, kind) or not issubclass(kind, gevent.ssl.SSLContext)
    return context if ours else _OnGevent(context)


def _made(given: Mapping[str, Any], kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    for name in ("certfile", "keyfile", "ca_certs"):
        path = given.get(name)
        if path is None:
            continue
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise OptionError(f"{name}={path!r:.100}: give the path of a PEM file")
        if not os.path.isfile(path):
            raise OptionError(f"{name}={os.fspath(path)!r}: there is no such file")
    cert, key = given["certfile"], given.get("keyfile")
    context = kind(given.get("ssl_version", ssl.PROTOCOL_TLS_SERVER))
    try:
        context.load_cert_chain(cert, key, password=_no_password)
        if "ca_certs" in given:
            context.load_verify_locations(given["ca_certs"])
        if "cert_reqs" in given:
            context.verify_mode = given["cert_reqs"]
        if "ciphers" in given:
            context.set_ciphers(given["ciphers"])
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"certfile={cert!r}, keyfile={key!r}: not a certificate and its key in PEM, or they do "
            f"not match, or cannot be read ({error})"
        ) from error
    return context


def _no_password() -> str:
    raise OptionError(
        "keyfile: the key is encrypted; make an ssl.SSLContext of your own and give it as "
        "ssl_context"
    )


def _adhoc() -> ssl.SSLContext:
    from werkzeug.serving import generate_adhoc_ssl_context

    try:
        return generate_adhoc_ssl_context()
    except TypeError as error:
        raise OptionError(f"ssl_context='adhoc': {error}") from error


class _OnGevent:
    """A context of the interpreter's own `ssl`, in a process that gevent has not patched.

    Sockets of its own `wrap_socket` would stop all connections whenever one of them waits.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: Any, **options: Any) -> Any:
        return gevent.ssl.SSLSocket(sock=sock, _context=self._context, **options)
