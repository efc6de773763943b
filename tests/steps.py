"""Counts steps of Python: what costs time on each machine alike, however busy it is."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(action: Callable[[], Any]) -> int:
    """How many instructions of Python run in ``action``; the work of C code does not count."""
    return _counted(action, "opcode", "")


def lines(action: Callable[[], Any], within: tuple[str, ...]) -> int:
    """How many lines of the files in these folders run in ``action``."""
    return _counted(action, "line", within)


def _counted(action: Callable[[], Any], kind: str, within: str | tuple[str, ...]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = kind == "opcode"
        count += event == kind
        return trace

    gc.disable()  # what it finalizes is another test's
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        gc.enable()
    return count
