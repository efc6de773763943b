"""What the command prints when it begins to serve: what to open, and what other machines need."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from .._version import __version__
from ..starting.addresses import Addresses, of_camera

__all__ = ["ICE_NEEDED", "ROOM", "print_first_lines"]

#: Behind the address of the room page.
ROOM = "/?room=demo"

#: Without a STUN server no call between two networks comes about. The choice is the operator's:
#: whoever runs a STUN server learns the addresses of all who call.
ICE_NEEDED = (
    "none. Calls between different networks need STUN, and often TURN: "
    "rtcio-sync --stun stun.l.google.com:19302"
)


def print_first_lines(
    found: Addresses, lines: Iterable[str], *, tls: bool, page: str, signed_here: bool = False
) -> None:
    """``page``: the path of the page that is opened. ``lines``: what more is said."""
    click.echo(f"rtcio-sync {__version__} listening on {found.listening}")
    told = [f"open {found.here}{page}"]
    if found.network is not None:
        told.append(f"in this network: {found.network}{page}{of_camera(tls)}")
    if signed_here:
        told.append("the certificate is self-signed: each browser shows a warning once")
    for line in (*told, *lines):
        click.echo(f"  {line}")
    sys.stdout.flush()
