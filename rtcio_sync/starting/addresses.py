"""The addresses at which a server that listens can be opened."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Any

__all__ = ["Addresses", "default_host", "lan_address", "not_listening", "of_camera", "url"]

#: Of the documentation (RFC 5737): the system chooses a route to it, and nothing is sent.
_ELSEWHERE = ("192.0.2.1", 9)


def url(host: str, port: int, *, tls: bool) -> str:
    """The origin of a page at ``host`` and ``port``."""
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def not_listening(host: str, port: int, error: OSError) -> str:
    """One line that says why a server could not begin. ``host``: as `Addresses.of`."""
    number = error.errno
    if number is None:  # not of a system call: what it says is about something else
        return str(error)
    # Negative if the host's name is unknown. gevent adds the address to its own text.
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    fix = "; stop the program that uses it, or choose another --port"
    return (
        f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}: {reason}"
        f"{fix if number == errno.EADDRINUSE else ''}"
    )


@dataclass(frozen=True)
class Addresses:
    """Where a server listens, and the addresses to open."""

    #: The address that it listens on.
    listening: str
    #: For a browser on the same machine.
    here: str
    #: For the other machines of the network; `None`: they cannot connect, or ``here`` is for them.
    network: str | None

    @classmethod
    def of(cls, host: str, port: int, *, tls: bool) -> Addresses:
        """Of a server that listens on ``host``: a name or an address, without brackets."""
        everywhere = _is_everywhere(host)
        near = "localhost" if everywhere or _is_loopback(host) else host
        lan = lan_address() if everywhere else None
        return cls(
            listening=url(host, port, tls=tls),
            here=url(near, port, tls=tls),
            network=None if lan is None else url(lan, port, tls=tls),
        )


def of_camera(tls: bool) -> str:
    """What another machine of the network needs for a camera, behind its address."""
    if tls:
        return ""
    return "  (browsers there allow the camera only with https: add --self-signed)"


def lan_address() -> str | None:
    """This machine's address in its network; `None`: it is in none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(_ELSEWHERE)
            found = str(sock.getsockname()[0])
    except OSError:
        return None
    return None if _is_loopback(found) or _is_everywhere(found) else found


def default_host() -> str:
    """The name of this machine, or ``localhost``."""
    try:
        return socket.gethostname() or "localhost"
    except OSError:
        return "localhost"


def _is_everywhere(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_unspecified


def _is_loopback(host: str) -> bool:
    # A browser may prefer IPv6 for "localhost", where a server on ::1 listens as well.
    return host == "localhost" or host in ("127.0.0.1", "::1")


def _address(host: str) -> Any:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
