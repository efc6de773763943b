"""Warnings that point at the app's own line, wherever in this package they are given."""

from __future__ import annotations

import sys
import warnings

__all__ = ["MILLISECONDS", "warn", "warn_of_milliseconds"]

MILLISECONDS = 5000  # from here on, a number of seconds was most likely meant as milliseconds


def warn(message: str) -> None:
    """Gives a `UserWarning` for the line of the app that called this package."""
    level = 1
    frame = sys._getframe(0)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(
        ("rtcio_sync.", "socketio.")
    ):
        frame = frame.f_back
        level += 1
    warnings.warn(message, UserWarning, stacklevel=level)


def warn_of_milliseconds(name: str, seconds: object) -> None:
    """Warns of a number of seconds that was most likely meant as milliseconds, as on Node."""
    if isinstance(seconds, (int, float)) and seconds >= MILLISECONDS:
        warn(
            f"{name}={seconds} is in seconds, and Socket.IO on Node takes milliseconds: did you "
            f"mean {seconds / 1000:g}?"
        )
