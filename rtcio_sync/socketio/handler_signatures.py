"""The parameters of handlers, and the objects that cannot be handlers, checked at registration."""

from __future__ import annotations

import functools
import inspect
import types
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import OptionError
from ..functions import check_plain
from ..warned import warn

__all__ = [
    "arity",
    "check_event_middleware",
    "check_handler",
    "check_middleware",
    "check_takes",
    "handler_names",
    "method_of",
    "plain_arity",
    "warn_of_ack",
    "warn_of_event",
    "warn_of_missing_sid",
    "warn_of_second_class",
    "warn_of_sid",
    "warn_of_sid_before_data",
    "warn_of_unheard",
]


#: Functions that do not run when they are called.
_NOT_RUN = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


def plain_arity(fn: Any) -> tuple[int, int | None] | None:
    """`arity` of a plain function or method that can be a handler; `None`: look closer.

    It reads the code object alone, in a hundredth of the time of `inspect.signature`: a
    ``connection`` handler registers its handlers anew for each client.
    """
    bound = type(fn) is types.MethodType
    function = fn.__func__ if bound else fn
    # Attributes: it may be a wrapper, or say of itself that it is a coroutine.
    if type(function) is not types.FunctionType or function.__dict__:
        return None
    code = function.__code__
    if code.co_flags & _NOT_RUN or code.co_kwonlyargcount:
        return None
    most = code.co_argcount
    if bound:
        if not most:  # no parameter, or ``*args``, takes `self`
            return None
        most -= 1
    elif most and code.co_varnames[0] in ("self", "cls"):
        return None  # it may be an unbound method
    least = max(0, most - len(function.__defaults__ or ()))
    return least, None if code.co_flags & inspect.CO_VARARGS else most


def check_handler(fn: Any) -> None:
    """Raises `TypeError`, with the fix, for an object that cannot be a handler."""
    if isinstance(fn, classmethod):
        raise TypeError(
            f"{fn.__func__!r} is an unbound classmethod: register it after its class is made, as "
            "Class.method"
        )
    if not callable(fn):
        raise TypeError(f"a handler has to be callable, not {type(fn).__name__}")
    if isinstance(fn, type) and fn.__module__ != "builtins":
        raise TypeError(f"{fn!r} is a class: give a function, or a method of an object")
    check_plain(fn)
    if inspect.isfunction(fn) and _is_unbound(fn):
        raise TypeError(
            f"{fn.__qualname__} is an unbound method: register the method of an object, as in "
            "server.on(event, chat.method), or make its class a rtcio_sync.Namespace"
        )


def check_middleware(fn: Any, least: int) -> None:
    """Raises `TypeError`, with the fix, for a middleware that needs more than the socket.

    ``least``: of `arity`. What is missing would be `None`, and Node's ``next`` never called.
    """
    if least > 1:
        raise TypeError(
            f"{_shown(fn)} is no middleware for connections: write fn(socket). Where Node calls "
            'next(), return; where it calls next(error), raise ConnectionRefusedError("why"). A '
            "middleware fn(event, args) is for socket.use"
        )


def check_takes(name: str, fn: Any, given: str) -> None:
    """Raises `OptionError` for an option's function that cannot be called as it will be.

    ``given``: the names of its arguments, as in ``"socket, room"``.
    """
    try:
        signature = inspect.Signature(parameters_of(fn))
    except (TypeError, ValueError):  # some built-ins have none
        return
    try:
        signature.bind(*given.split(", "))
    except TypeError as error:  # it says what is missing, or too much
        raise OptionError(f"{name} is called with ({given}): {error}") from error


def check_event_middleware(fn: Any, least: int) -> None:
    """The same for one that needs more than an event and its arguments, or Node's ``next``."""
    code = getattr(fn, "__code__", None)  # not its signature: it is read anew for each client
    if least > 2 or (code is not None and "next" in code.co_varnames[: code.co_argcount]):
        raise TypeError(
            f"{_shown(fn)} is no middleware for events: write fn(event, args). Where Node calls "
            "next(), return; where it calls next(error), or never, raise an exception"
        )


def _shown(fn: Any) -> str:
    names = ", ".join(each.name for each in _positional(fn)[0])
    return f"{getattr(fn, '__name__', type(fn).__name__)}({names})"


def _is_unbound(fn: Any) -> bool:
    # Defined in the body of a class: "Chat.join", and "make.<locals>.join" in that of a function.
    where = fn.__qualname__.rpartition(".")[0]
    if not where or where.endswith("<locals>"):
        return False
    try:
        first = parameters_of(fn)[:1]
    except (TypeError, ValueError):
        return False
    return bool(first) and first[0].name in ("self", "cls")


def arity(fn: Callable[..., Any]) -> tuple[int, int | None]:
    """The least and the most arguments of ``fn``; `None` as most: any number.

    Raises `TypeError` for a keyword-only parameter without a default.
    """
    try:
        parameters = parameters_of(fn)
    except (TypeError, ValueError):  # some built-ins have none
        return 0, None
    least = most = 0
    unbounded = False
    for each in parameters:
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            most += 1
            least += each.default is each.empty
        elif each.kind is each.VAR_POSITIONAL:
            unbounded = True
        elif each.kind is each.KEYWORD_ONLY and each.default is each.empty:
            raise TypeError(
                f"{fn!r}: no argument can fill the keyword-only parameter {each.name!r}; "
                "give it a default or make it positional"
            )
    return least, None if unbounded else most


def parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    # `functools.wraps` gives a wrapper the signature of the wrapped function. A wrapper of any
    # arguments passes them on, so the parameters of the wrapped function count; otherwise its own.
    if inspect.ismethod(fn):
        parameters = parameters_of(fn.__func__)
        return parameters if _variadic(parameters[:1]) else parameters[1:]  # less `self`
    while True:
        wrapped = getattr(fn, "__wrapped__", None)
        try:
            own = list(inspect.signature(fn, follow_wrapped=False).parameters.values())
        except (TypeError, ValueError):  # a staticmethod or a cache, which only hand on
            if wrapped is None:
                raise
        else:
            if isinstance(fn, functools.partial) and _variadic(own):  # of a wrapper
                return list(inspect.signature(fn).parameters.values())
            if wrapped is None or not _variadic(own):
                return own
        fn = wrapped


def _variadic(parameters: list[inspect.Parameter]) -> bool:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return bool(parameters) and all(each.kind in kinds for each in parameters)


# -- classes of handlers ---------------------------------------------------------------------------


def method_of(space: Any, event: str) -> Any:
    """The method of a class-based namespace for ``event``; `None`: it has none.

    An attribute that is not callable is data of the app. A property is not read: a client must not
    run its code by choosing its name.
    """
    name = f"on_{event}"
    if isinstance(getattr(type(space), name, None), (property, functools.cached_property)):
        return None
    method = getattr(space, name, None)
    return method if callable(method) else None


def handler_names(space: Any) -> list[str]:
    """The events for which a class-based namespace has methods.

    Raises `TypeError` for a method that cannot be a handler.
    """
    found = []
    for name in dir(space):
        method = method_of(space, name[3:]) if name.startswith("on_") else None
        if method is None:
            continue
        check_handler(method)
        function = inspect.ismethod(method) and method.__func__
        if isinstance(function, types.FunctionType):
            first = list(inspect.signature(function, follow_wrapped=False).parameters)[:1]
            if first and first[0] in ("sid", "namespace", "environ", "data"):
                raise TypeError(
                    f"{function.__qualname__}: its first parameter is {first[0]!r}, but a method "
                    "needs self before it"
                )
        found.append(name[3:])
    return found


# -- a handler of server.on that takes its sid for the data ----------------------------------------

#: Names that nobody gives to a sid. Longer names count by their words.
_DATA_WORDS = (
    "data datas message messages msg payload text body json content contents room rooms roomid "
    "roomname name username nickname event arg value values val info params options settings obj "
    "object dict list items item request req offer answer candidate candidates ice sdp description "
    "stream state status chat note number count index key title url file blob image chunk packet "
    "position password token config input query command cmd action type kind color typing reaction "
    "update change delta track mid media response result"
)
_DATA = frozenset(_DATA_WORDS.split())
#: The same for names of handlers that take the sid for other data.
_ONLY_IN = {"disconnect": frozenset({"reason"}), "connect": frozenset({"environ", "auth"})}
#: Annotations that a sid never has.
_NOT_TEXT = ("dict", "list", "tuple", "int", "float", "bytes", "bool", "Dict", "List", "Mapping")


def warn_of_missing_sid(event: str, fn: Any, namespace: str = "/") -> None:
    """Warns of a handler of ``server.on`` whose parameters leave no place for the sid.

    Its first one is named like a socket, or its only one like data. With ``"*"``, for the names
    that come before the sid: the first one is named like a sid, or the second of two like data.
    """
    positional, rest = _positional(fn)
    if not positional:
        return
    first, name = positional[0], getattr(fn, "__name__", "handler")
    if namespace == "*" or event == "*":
        _warn_of_missing_names(event, namespace, name, [each.name for each in positional], rest)
        return
    if first.name == "socket":
        fix = (
            "For the socket, write server.on('connection')"
            if event == "connect"
            else f"Register it with socket.on({event!r}) in a handler of 'connection'"
        )
    elif len(positional) == 1 and not rest and _is_data(event, first):
        also = "" if event in _ONLY_IN else f", or register it with socket.on({event!r})"
        fix = f"Write {name}(sid, {first.name}){also}"
    else:
        return
    shown = first.name if len(positional) == 1 else f"{first.name}, …"
    warn(
        f"{name}({shown}) gets the sid for {first.name!r}: the first argument of a handler of "
        f"server.on is the sid. {fix}",
    )


def _warn_of_missing_names(
    event: str, namespace: str, name: str, names: list[str], rest: bool
) -> None:
    before = ["event"] * (event == "*") + ["namespace"] * (namespace == "*")
    if names[0] == "sid" and len(names) > 1:
        got, others = "sid", names[1:]
    elif not rest and len(names) == len(before) + 1 and _is_named_like_data(names[-1]):
        got, others = names[-1], names[-1:]
    else:
        return
    gets = (before[0] if got == "sid" else "sid").replace("event", "event's name")
    warn(
        f"{name}({', '.join(names)}) gets the {gets} for {got!r}: with '*' a handler of server.on "
        f"gets the {' and the '.join([*before, 'sid'])} first. "
        f"Write {name}({', '.join([*before, 'sid', *others])})",
    )


def warn_of_sid(fn: Any, what: str = "a handler of 'connection'") -> None:
    """Warns of a ``"connection"`` handler whose first parameter is named like a sid.

    ``what``: it may be another function of a socket.
    """
    positional, _ = _positional(fn)
    if positional and positional[0].name == "sid":
        name = getattr(fn, "__name__", "handler")
        also = ", or register it with server.on('connect')" if "connection" in what else ""
        warn(
            f"{name}(sid, …) gets the socket for 'sid': the argument of {what} "
            f"is the socket. Write {name}(socket){also}",
        )


def warn_of_sid_before_data(
    fn: Any, registrar: str = "socket.on", instead: str = "socket.id for the sid"
) -> None:
    """Warns once of a handler of ``socket.on`` whose first parameter is ``sid`` or ``socket``.

    ``registrar``: what else registers handlers without a sid, with what to write ``instead``.
    """
    positional, _ = _positional(fn)
    function = getattr(fn, "__func__", fn)  # of a method
    if not positional or not inspect.isfunction(function):
        return
    first, name = positional[0].name, function.__name__
    if first not in ("sid", "socket"):
        return
    itself = ["self"] * inspect.ismethod(fn)
    others = [each.name for each in positional[1:]]
    if first == "socket" and registrar == "socket.on":
        instead = "the socket that the handler of 'connection' has got"
    warnings.warn_explicit(
        f"{name}({', '.join([*itself, first, *others])}) gets the client's first argument for "
        f"{first!r}: handlers of {registrar} get no {first}. "
        f"Write {name}({', '.join([*itself, *others])}), and {instead}",
        UserWarning,
        function.__code__.co_filename,
        function.__code__.co_firstlineno,
        registry=function.__globals__.setdefault("__warningregistry__", {}),
    )


#: Names of Node's last argument, which sends the acknowledgement.
_ACKS = frozenset({"ack", "acknowledge", "callback", "cb", "send_ack"})


def warn_of_ack(fn: Any) -> None:
    """Warns once of a handler whose last parameter is named like Node's acknowledgement."""
    code = getattr(fn, "__code__", None)  # not its signature: it is read anew for each client
    if code is None or not code.co_argcount:
        return
    last = code.co_varnames[code.co_argcount - 1]
    if last not in _ACKS or not hasattr(fn, "__globals__"):
        return
    warnings.warn_explicit(
        f"{fn.__name__}(…, {last}) gets no function for {last!r}: what a handler returns is the "
        f"acknowledgement. Return it, or, to send it later, write {last} = server.defer_ack() in "
        "the handler",
        UserWarning,
        code.co_filename,
        code.co_firstlineno,
        registry=fn.__globals__.setdefault("__warningregistry__", {}),
    )


def _positional(fn: Any) -> tuple[list[inspect.Parameter], bool]:
    """The parameters that positional arguments fill, and whether ``*args`` takes more."""
    try:
        parameters = parameters_of(fn)
    except (TypeError, ValueError):
        return [], True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return [each for each in parameters if each.kind in kinds], rest


def warn_of_unheard(method: Any) -> None:
    """Warns of ``on_connection``, a method that python-socketio never calls."""
    name = getattr(method, "__qualname__", "on_connection")
    warn(
        f"{name} is never called: write on_connect(self, sid, environ), or register a handler "
        "fn(socket) with server.on('connection', namespace=…)",
    )


def warn_of_second_class(name: str, old: Any, new: Any) -> None:
    """Warns of an object of handlers that takes the place of another one."""
    first, second = type(old).__name__, type(new).__name__
    warn(
        f"{name} has the handlers of an object of {first} already, and one object alone is asked: "
        f"those of {first} are not called any more. Put them into {second}, or register them with "
        "server.on(event, namespace=…)",
    )


#: Events for which a handler is never called, and what to write instead.
_CONNECTED = "for the connection write server.on('connection')"
_RESERVED = "no client can send an event with this name, so choose another"
_ON_SOCKET = {
    "*": "for every event write socket.on_any(handler)",
    "connect": f"the socket is connected already; {_CONNECTED}",
    "connection": f"the socket is connected already; {_CONNECTED}",
    **dict.fromkeys(("connect_error", "newListener", "removeListener"), _RESERVED),
}
_ON_SERVER = {
    "connection_error": "for refused requests write server.engine.on('connection_error')",
    "new_namespace": "for new namespaces write server.on_new_namespace",
    **dict.fromkeys(("connect_error", "newListener", "removeListener"), _RESERVED),
}


def warn_of_event(event: str, registrar: str) -> None:
    """Warns of a handler for an event that never comes, or not from where the app expects it.

    ``registrar``: ``"server"`` or ``"socket"``.
    """
    fix = (_ON_SERVER if registrar == "server" else _ON_SOCKET).get(event)
    if fix is not None:
        warn(f"{registrar}.on({event!r}) hears only what clients send: {fix}")


def _is_named_like_data(name: str) -> bool:
    words = name.lower().strip("_").split("_")
    if name.startswith("_") or "sid" in words:
        return False
    return any(word in _DATA for word in words) or "".join(words) in _DATA


def _is_data(event: str, parameter: inspect.Parameter) -> bool:
    if parameter.name.startswith("_") or "sid" in parameter.name.lower().split("_"):
        return False
    if event in _ONLY_IN:
        return parameter.name in _ONLY_IN[event]
    if event in ("*", "disconnecting"):
        return False
    noted = parameter.annotation
    kind = noted.strip("'\"") if isinstance(noted, str) else getattr(noted, "__name__", "")
    if kind.partition("[")[0].rpartition(".")[2] in _NOT_TEXT:
        return True
    return _is_named_like_data(parameter.name)
