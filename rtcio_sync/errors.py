"""Everything this package raises, drawn as one tree.

::

    RtcioError
    ├── OptionError     a caller's misuse: an option or an argument that cannot mean anything
    └── ProtocolError   a peer's misbehaviour: counted, its connection closed, no error in a log

    ConnectionRefusedError   to refuse a connection; beside the tree, a kind of the built-in one

Exceptions carry facts; the sentence is made when they are shown.
"""

from __future__ import annotations

import builtins
from typing import Any

__all__ = ["ConnectionRefusedError", "OptionError", "ProtocolError", "RtcioError", "refusal"]


class RtcioError(Exception):
    """The root of the package's own exceptions."""


class OptionError(RtcioError, ValueError):
    """An option or argument that the caller has to change; the message names the fix."""


class ProtocolError(RtcioError, ValueError):
    """A peer sent what its protocol does not allow.

    ``reason`` is a short constant, fit for a counter's label; it holds nothing that the peer sent.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConnectionRefusedError(builtins.ConnectionRefusedError):
    """Raise it in a ``connect`` handler or a ``use`` middleware to refuse the connection.

    ``ConnectionRefusedError(message, data)``: the client's ``connect_error`` event gets an error
    with that ``message``, and ``data`` (anything JSON can hold) as the error's ``data``; both may
    be left out. python-socketio's class of the same name and the built-in one are accepted too.
    """


def refusal(error: BaseException) -> dict[str, Any]:
    """The payload of the CONNECT_ERROR packet that answers a refusal.

    Socket.IO protocol v5, "Connection to a namespace": an object with ``message`` and, when
    there is more to say, ``data``.
    """
    known = getattr(error, "error_args", None)  # python-socketio's class has built it already
    if isinstance(known, dict):
        return dict(known)
    args = error.args
    builtin = type(error) is builtins.ConnectionRefusedError
    default = f"Connection {'refused' if builtin else 'rejected'} by server"
    payload: dict[str, Any] = {"message": str(args[0]) if args else default}
    if len(args) == 2:
        payload["data"] = args[1]
    elif len(args) > 2:
        payload["data"] = list(args[1:])
    return payload
