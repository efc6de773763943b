"""``module:attribute``: the app that the command line is asked to serve."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import socketio

from ..errors import OptionError
from ..flask.extension import EXTENSION, Flask
from ..server import Server

__all__ = ["AppCode", "load"]

#: Makes a context in which the app's own code runs; it suppresses no exception.
AppCode: TypeAlias = Callable[[], AbstractContextManager[Any]]


def load(target: str, app_code: AppCode = nullcontext) -> tuple[Server | None, Flask | None]:
    """What ``module:attr`` or ``module:make("literal")`` names: a `Server`, a Flask app, or both.

    The current directory is searched first, as gunicorn and flask do. Raises `OptionError` when
    there is no such module or attribute, or when it is neither a Flask app nor a `Server`; what the
    module itself raises is raised as it is. It is imported, and a factory called, inside an
    ``app_code()``.
    """
    module_name, colon, expression = target.partition(":")
    if not (module_name and colon and expression):
        raise OptionError(f"--app {target}: write module:attribute, like app:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = _evaluate(_module(module_name, app_code), expression, target, app_code)
    if isinstance(found, Server):
        return found, None
    if isinstance(found, Flask):
        return found.extensions.get(EXTENSION), found
    held = getattr(found, "server", None)
    if isinstance(held, Server):  # a `SocketIO` of `rtcio_sync.flask_socketio`
        return held, None
    raise OptionError(
        f"--app {target} is a {_kind_of(found)}, not a Flask app or a Server{_fix_for(found)}"
    )


def _kind_of(found: Any) -> str:
    kind = type(found)
    library = kind.__module__.partition(".")[0]
    foreign = library not in ("builtins", "rtcio_sync", "__main__")
    return f"{kind.__name__} of {library}" if foreign else kind.__name__


def _fix_for(found: Any) -> str:
    if inspect.isroutine(found) or inspect.isclass(found):
        return "; call a factory: module:create_app()"
    if isinstance(found, socketio.Server) or hasattr(found, "sockio_mw"):
        fix = "from rtcio_sync.flask_socketio import SocketIO"
        return f"; write {fix}" if hasattr(found, "sockio_mw") else "; write rtcio_sync.Server()"
    if callable(found):
        return "; name one of these. Any other WSGI application: server.listen(port, app=…)"
    return ""


def _module(name: str, app_code: AppCode) -> Any:
    if name.endswith(".py") and os.path.exists(name):
        raise OptionError(f"--app: there is no module {name!r}: write {name[:-3]}, without .py")
    if not all(part.isidentifier() for part in name.split(".")):
        raise OptionError(
            f"--app: {name!r} is not the name of a module; write it like package.module"
        )
    with app_code():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name
            # The app's module exists and lacks another one: the app's error, with its traceback.
            if missing is None or not f"{name}.".startswith(f"{missing}."):
                raise
    raise OptionError(f"--app: there is no module {missing!r} in {os.getcwd()}")


def _evaluate(module: Any, expression: str, target: str, app_code: AppCode) -> Any:
    try:
        node = ast.parse(expression, mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        names = _names(call.func if call else node)
        args = [ast.literal_eval(arg) for arg in call.args] if call else []
        kwargs = {_keyword(k): ast.literal_eval(k.value) for k in call.keywords} if call else {}
    except (SyntaxError, ValueError):
        raise OptionError(
            f"--app {target}: after the colon write a name, or a call with plain values"
        ) from None
    found = module
    for name in names:
        if not hasattr(found, name):
            raise OptionError(f"--app {target}: {module.__name__} has no {'.'.join(names)!r}")
        found = getattr(found, name)
    if call is None:
        return found
    with app_code():
        return found(*args, **kwargs)


def _keyword(node: ast.keyword) -> str:
    if node.arg is None:
        raise ValueError("**")
    return node.arg


def _names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_names(node.value), node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    raise ValueError(ast.dump(node))
