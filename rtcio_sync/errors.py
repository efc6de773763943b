"""All exceptions of this package, as one tree.

::

    RtcioError
    ├── OptionError     a caller's mistake: an invalid option or argument
    ├── CannotMove      a session that has to stay in its process
    ├── CannotPack      a value of the app that another process cannot get
    ├── NotServing      the server cannot run this call: it has stopped, or its hub is blocked
    ├── DisconnectedError   `call` asked a client that has left (see `adapter.server_call`)
    ├── UnansweredError     some of several clients did not answer (see `adapter.gathering`)
    ├── Refused         an HTTP request that the Engine.IO endpoint answers with an error
    └── ProtocolError   a peer's mistake: counted, its connection closed, no error in the log
        ├── LimitExceeded   a client is over a limit; only its request is refused
        ├── OverBound       a packet holds more than `Limits` allow (see `parser.message_bounds`)
        ├── NotUnicode      a name that other workers cannot be sent (an `OptionError`, too)
        ├── HandshakeError  an invalid opening handshake of a WebSocket
        └── FrameError      a frame of a WebSocket that breaks RFC 6455

    ConnectionRefusedError   refuses a connection; outside of the tree, derived from the built-in

Exceptions carry facts; the sentence is made when they are shown.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CannotMove",
    "CannotPack",
    "ConnectionRefusedError",
    "FrameError",
    "HandshakeError",
    "LimitExceeded",
    "NotServing",
    "NotUnicode",
    "OptionError",
    "ProtocolError",
    "Refused",
    "RtcioError",
    "refusal",
]


class RtcioError(Exception):
    """The root of the package's own exceptions."""


class OptionError(RtcioError, ValueError):
    """An invalid option or argument; the message names the fix."""


class CannotMove(RtcioError):
    """A session cannot go to another process; ``reason`` says why, and holds no client's data.

    ``later``: it can in a moment, when what is under way has ended, or it ends itself.
    """

    def __init__(self, reason: str, *, later: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.later = later


class CannotPack(RtcioError):
    """A value that cannot be carried to another process; the message names its type."""


class NotServing(RtcioError, RuntimeError):
    """The server cannot run this call here or now; the message names the fix.

    Raised for a call from a thread other than the one that serves, after the server has stopped or
    when its hub does not answer for 5 seconds. Also raised for a call that would wait in the hub.
    """


class ProtocolError(RtcioError, ValueError):
    """A peer sent what its protocol does not allow.

    ``reason`` is a short constant, fit for a counter's label; ``detail`` says more to an app that
    catches it. Neither holds anything that the peer sent.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(detail or reason)
        self.reason = reason


class LimitExceeded(ProtocolError):
    """A client is over one of its `Limits`; ``reason`` names the limit.

    Raised in the app's handler, by the call that is over the limit (``socket.join``). When the
    handler does not catch it, it is counted as a drop and not logged as the handler's error; but
    it is the handler's error if another client is over its limit. ``sid``: of that client; `None`
    if any client would be over it.
    """

    def __init__(self, reason: str, detail: str | None = None, *, sid: str | None = None) -> None:
        super().__init__(reason, detail)
        self.sid = sid


class NotUnicode(ProtocolError, OptionError):
    """A name that other workers cannot be sent: it has half of a surrogate pair, as JSON may.

    It is most likely a client's, so a handler that does not catch this is not to blame.
    """

    def __init__(self) -> None:
        super().__init__("room-name", "several workers know a room by its name in valid Unicode")


class HandshakeError(ProtocolError):
    """An invalid opening handshake: answer it with ``status`` and ``headers``.

    ``status`` is a WSGI status line, "400 Bad Request" or "426 Upgrade Required". ``detail`` says
    what is wrong.
    """

    def __init__(self, status: str, headers: list[tuple[str, str]], detail: str) -> None:
        super().__init__("handshake", detail)
        self.status = status
        self.headers = headers
        self.detail = detail


class FrameError(ProtocolError):
    """A peer broke RFC 6455: fail its connection (7.1.7) with the close code ``code``."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__("frame", detail)
        self.code = code
        self.detail = detail


class Refused(RtcioError):
    """A request that is answered with an error. The codes and messages are Engine.IO's."""

    def __init__(
        self, status: str, code: int, message: str, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = [("Content-Type", "application/json"), *headers]
        self.body = {"code": code, "message": message}


class ConnectionRefusedError(builtins.ConnectionRefusedError):
    """Raise it in a ``connect`` handler or a ``use`` middleware to refuse the connection.

    ``ConnectionRefusedError(message, data)``: the client's ``connect_error`` event gets an error
    with that ``message``, and ``data`` (any JSON value) as the error's ``data``. Both may be left
    out; with more arguments, ``data`` is a list. python-socketio's class of the same name and the
    built-in one are accepted too.
    """

    def __init__(self, *args: Any) -> None:
        # Only the first to the built-in one: it takes several for an error number, text and file.
        super().__init__(*args[:1])
        self.error_args = _payload(args, "Connection rejected by server")


def refusal(error: BaseException) -> dict[str, Any]:
    """The payload of the CONNECT_ERROR packet that answers a refusal.

    Socket.IO protocol v5, "Connection to a namespace": an object with ``message`` and, when
    there is more to say, ``data``.
    """
    known = getattr(error, "error_args", None)  # ours and python-socketio's have built it already
    if isinstance(known, dict):
        return dict(known)
    # With an error number it comes from the operating system, of a database for example: its text
    # is not for the client.
    args = () if isinstance(getattr(error, "errno", None), int) else error.args
    return _payload(args, "Connection refused by server")


def _payload(args: tuple[Any, ...], default: str) -> dict[str, Any]:
    payload: dict[str, Any] = {"message": str(args[0]) if args else default}
    if len(args) == 2:
        payload["data"] = args[1]
    elif len(args) > 2:
        payload["data"] = list(args[1:])
    return payload
