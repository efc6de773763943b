"""The ids that clients get: sids, and the keys to their sessions.

A process that is alone makes sids as python-engineio does (``Server.generate_id``). Among several,
an id begins with that of its process, so that any of them knows where it belongs.
"""

from __future__ import annotations

import os
import re
import secrets
from base64 import urlsafe_b64encode

__all__ = ["NODE", "PID", "SID", "is_node", "is_pid", "new_node", "new_pid", "new_sid"]

NODE = 4  #: characters of a process's own id
SID = 20  #: characters of a sid
PID = 24  #: characters of the key to a session

_NODE = re.compile(r"[A-Za-z0-9_-]{4}")
_PID = re.compile(r"[A-Za-z0-9_-]{24}")


def is_node(name: str) -> bool:
    """Whether it can be the id of a process."""
    return _NODE.fullmatch(name) is not None


def is_pid(name: str) -> bool:
    """Whether it can be the key to a session of one process among several."""
    return _PID.fullmatch(name) is not None


def new_node() -> str:
    """An id for a process among several. Two can draw the same: it has to be claimed."""
    return secrets.token_urlsafe(NODE * 3 // 4)


def new_sid(node: str) -> str:
    """A sid of one process among several: of a connection, or of a socket in a namespace."""
    # As `secrets.token_urlsafe`, in half of its time.
    return node + urlsafe_b64encode(os.urandom(12)).decode()


def new_pid(node: str = "") -> str:
    """A key to a session; ``node``: the id of its process, if that is one of several."""
    return node + secrets.token_urlsafe(15 if node else 18)
