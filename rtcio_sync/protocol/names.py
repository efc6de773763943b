"""Checks the names of namespaces, events and rooms, and brings namespaces into one spelling."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from ..errors import OptionError
from ..events import RESERVED_EVENTS

__all__ = [
    "FUNCTIONS", "NoName", "check_event", "check_name", "check_room", "check_sid", "is_several",
    "namespace_name", "namespace_names", "new_namespace", "text_of",
]  # fmt: skip

_FROM_A_CLIENT = "check what the client sent before you use it"
FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
#: Iterables that are neither one room nor several: an iterator can be read only once.
_NEITHER = (bytearray, memoryview, Mapping, Iterator)


class NoName:
    """The base of classes whose objects an app easily gives where a sid or a room is meant."""

    __slots__ = ()

    #: What to write instead.
    rtcio_instead = "write socket.id"


def namespace_name(given: Any, *, catch_all: bool = False) -> str:
    """The name of a namespace as on the wire: ``"calls"`` is ``"/calls"``.

    `None` and ``""`` are ``"/"``. ``catch_all``: whether ``"*"``, any namespace, is allowed. Raises
    `OptionError` for an invalid name.
    """
    if type(given) is str and given.startswith("/") and "," not in given:  # most are so
        return given
    if given is None or given == "":
        return "/"
    if isinstance(given, str):
        name = text_of(given)
        if "," in name:  # https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
            raise OptionError(
                f"a namespace's name ends at a comma on the wire: {name!r:.80}; give one name"
            )
        if name != "*":
            return name if name.startswith("/") else f"/{name}"
        if catch_all:
            return name
        raise OptionError(
            "'*' is not the name of one namespace: give a name. For handlers of all namespaces "
            "write server.on(event, namespace='*'); Server(namespaces='*') lets clients join all"
        )
    if isinstance(given, re.Pattern) or callable(given):
        raise OptionError(
            "a namespace is a string here: only server.of takes a pattern or a function. For "
            "handlers of all namespaces write server.on(event, namespace='*')"
        )
    raise OptionError(
        f"a namespace is a string like '/calls', not {type(given).__name__}: {given!r:.80}"
    )


def new_namespace(given: Any, *, catch_all: bool = False) -> str:
    """As `namespace_name`, for a namespace that the app opens to clients."""
    name = namespace_name(given, catch_all=catch_all)
    if "?" in name:
        raise OptionError(
            f"no client can join {name!r:.80}, for a query begins at '?': give the name before it"
        )
    return name


def namespace_names(given: Any) -> Any:
    """The option ``namespaces``: a list of names, ``"*"`` or `None`. Raises `OptionError`."""
    if given is None:
        return None
    if isinstance(given, str):
        if "," in given:
            raise OptionError(f"namespaces={given!r:.80}: give several names as a list")
        given = [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise OptionError(f"namespaces={given!r:.80}: give a list of names, or '*' for any")
    several = list(given)
    if "" in several or None in several:
        raise OptionError("namespaces: a name is missing; the default namespace is '/'")
    names = [new_namespace(each, catch_all=True) for each in several]
    return "*" if "*" in names else names


def check_event(event: Any, registrar: str, method: str = "on") -> None:
    """Raises `OptionError` for an invalid name of an event in the registration of a handler.

    ``method``: the method of the ``registrar`` that was called.
    """
    if isinstance(event, str):
        return
    if callable(event) and method != "on":
        raise OptionError(f"{registrar}.{method} takes the event's name first, then the handler")
    if callable(event):
        name = getattr(event, "__name__", "name")
        raise OptionError(
            f"{registrar}.on takes the event's name: write @{registrar}.on({name!r})"
            + (", or @server.event" if registrar == "server" else "")
        )
    raise OptionError(f"an event's name is a string, not {type(event).__name__}: {event!r:.80}")


def is_several(given: Any) -> bool:
    """Whether it holds names of rooms and is none itself: a list, tuple, set, range or the like.

    Any other iterable is one only if its class says that two of its objects may be equal.
    """
    if isinstance(given, (list, tuple, Set, range)):
        return True
    return _only_holds(given) and not isinstance(given, _NEITHER)


def _only_holds(given: Any) -> bool:
    """Whether it is an iterable without a hash, or with one that no other object can have."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return False
    return type(given).__hash__ in (None, object.__hash__)


def check_room(room: Any) -> Any:
    """The name of a room: the text of any kind of `str`, else the room itself.

    Raises `OptionError` for an invalid one; valid is one name, usually a string.
    """
    if isinstance(room, str):
        return text_of(room)
    if is_several(room) or isinstance(room, Iterator):
        raise OptionError(
            f"a room is one name, not a {type(room).__name__}: make a call for each room, or write "
            "socket.join('a', 'b') or socket.leave('a', 'b'); recipients may be one room, or one "
            "list of rooms"
        )
    if room is None or not _is_a_name(room):
        kind = "None" if room is None else f"a {type(room).__name__}"
        raise OptionError(f"a room is one name, usually a string, not {kind}: {_fix(room)}")
    return room


def check_sid(sid: Any) -> str:
    """A sid, as the text of any kind of `str`. Raises `OptionError` for what is no sid."""
    if not isinstance(sid, str):
        raise OptionError(f"a sid is a string, not {type(sid).__name__}: {_fix(sid)}")
    return text_of(sid)


def text_of(given: str) -> str:
    """The plain text of any kind of `str`: other processes, and JSON, do not know its class."""
    if type(given) is str:
        return given
    # A proxy, as werkzeug's, only says that it is one: `str` asks what it stands for.
    return str.__str__(given) if issubclass(type(given), str) else str(given)


def _fix(wrong: Any) -> str:
    """What to write instead of what names nobody."""
    if isinstance(wrong, NoName):
        return wrong.rtcio_instead
    return "call it, and give what it returns" if isinstance(wrong, FUNCTIONS) else _FROM_A_CLIENT


def _is_a_name(value: Any) -> bool:
    """Whether an app can name a room so: it has a hash, and is no mistake that we know of."""
    if isinstance(value, (NoName, memoryview, *FUNCTIONS)) or _only_holds(value):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True


def check_name(event: Any, reserved: Container[str] = RESERVED_EVENTS) -> None:
    """Raises `OptionError` for a name that an app may not emit."""
    if not isinstance(event, str):
        raise OptionError(f"an event's name is a string, not {type(event).__name__}")
    if event in reserved:
        raise OptionError(f"{event!r} is a reserved event name and cannot be emitted")
