"""Everything this package raises, drawn as one tree.

::

    RtcioError
    ├── OptionError     a caller's misuse: an option or an argument that cannot mean anything
    ├── NotServing      a call that nobody can carry out: the server has stopped, or its hub stands
    ├── DisconnectedError   `call` asked a client that has left (see `calls`)
    └── ProtocolError   a peer's misbehaviour: counted, its connection closed, no error in a log
        └── LimitExceeded   more than one client may have; only what it asked for is refused

    ConnectionRefusedError   to refuse a connection; beside the tree, a kind of the built-in one

Exceptions carry facts; the sentence is made when they are shown.
"""

from __future__ import annotations

import builtins
from typing import Any

__all__ = [
    "ConnectionRefusedError",
    "LimitExceeded",
    "NotServing",
    "OptionError",
    "ProtocolError",
    "RtcioError",
    "refusal",
]


class RtcioError(Exception):
    """The root of the package's own exceptions."""


class OptionError(RtcioError, ValueError):
    """An option or argument that the caller has to change; the message names the fix."""


class NotServing(RtcioError, RuntimeError):
    """A call that cannot be carried out where, or when, it was made; the message names the fix.

    Raised for a call from another thread than the one that serves, after the server has stopped or
    when its hub does not answer for 5 seconds, and for a call that would wait inside of the hub.
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
    """A client wants more than `Limits` allows it; ``reason`` names the limit.

    Raised into the app's handler that asked for it (``socket.join``); uncaught, it is counted as a
    drop and not logged as the handler's error.
    """


class ConnectionRefusedError(builtins.ConnectionRefusedError):
    """Raise it in a ``connect`` handler or a ``use`` middleware to refuse the connection.

    ``ConnectionRefusedError(message, data)``: the client's ``connect_error`` event gets an error
    with that ``message``, and ``data`` (anything JSON can hold) as the error's ``data``; both may
    be left out; more arguments make a list of ``data``. python-socketio's class of the same name
    and the built-in one are accepted too.
    """

    def __init__(self, *args: Any) -> None:
        # Not all to the built-in one: it reads an error number, its text and a file in them.
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
    # With an error number it is the operating system's, of a database, say: not for the client.
    args = () if isinstance(getattr(error, "errno", None), int) else error.args
    return _payload(args, "Connection refused by server")


def _payload(args: tuple[Any, ...], default: str) -> dict[str, Any]:
    payload: dict[str, Any] = {"message": str(args[0]) if args else default}
    if len(args) == 2:
        payload["data"] = args[1]
    elif len(args) > 2:
        payload["data"] = list(args[1:])
    return payload
