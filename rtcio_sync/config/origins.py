"""Origins as browsers write them (RFC 6454 section 6.2): parses, compares and checks them.

An origin that no browser ever sends never matches, so naming it would lock out everybody. It is
refused with an error that names the right spelling.
"""

from __future__ import annotations

import inspect
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ..errors import OptionError
from ..functions import check_plain

__all__ = ["check_origins", "described_origins", "parse_origins", "same_site"]

# A scheme, a host, a port, and the rest, which an origin must not have.
_PARTS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]*\]|[^/?#:@\s,\[\]]*)"
    r"(?::(?P<port>[^/?#]*))?(?P<rest>[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_OTHER = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#,*]*")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: The scheme of a WebSocket, as some proxies write it, and the scheme of its page.
_PAGES = {"ws": "http", "wss": "https"}

_LIKE = "write it like https://example.com or http://localhost:5173"


def parse_origins(text: str) -> str | list[str]:
    """The origins in ``text``, which commas separate, as browsers write them; or ``"*"``.

    Upper case and a scheme's default port are corrected. Raises `OptionError` for other mistakes.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if "*" in items:
        if len(items) > 1:
            raise OptionError("* allows any origin: remove it, or remove the others")
        return "*"
    if not items:
        raise OptionError("name an origin, like https://example.com, or * for any")
    return [_mended(item) for item in items]


def _mended(item: str) -> str:
    meant, why = (None, None) if item == "null" else _meant(item)
    if meant is not None and why in (None, _CASE, _PORT):
        return meant
    if why == _PATH:
        raise OptionError(f"{item!r} is not an origin, {why}: write {meant}")
    raise OptionError(
        f"{item!r} is not an origin: {_LIKE} "
        "(only Server(cors_allowed_origins=) in Python takes patterns)"
    )


def described_origins(rule: Any) -> str:
    """Which pages may connect, in a few words, for ``cors_allowed_origins``."""
    if rule == "*" or rule == []:
        return "ANY page may connect"
    if rule is None:
        return "the server's own"
    if callable(rule) and not isinstance(rule, re.Pattern):
        return "those that the app's function allows"
    several = [rule] if isinstance(rule, (str, re.Pattern)) else rule
    return ", ".join(
        str(each.pattern if isinstance(each, re.Pattern) else each) for each in several
    )


def check_origins(rule: Any) -> None:
    """Checks the option ``cors_allowed_origins``. Raises `OptionError`, which names the fix.

    Allowed are `None`, ``"*"``, ``"null"``, origins as browsers write them, compiled regular
    expressions, lists of those, and a function of the origin, or of it and the environ.
    """
    if rule is None:
        return
    if callable(rule) and not isinstance(rule, (str, re.Pattern)):
        _check_function(rule)
        return
    if isinstance(rule, (bool, int, float, bytes, Mapping)):
        raise OptionError(
            f"cors_allowed_origins={rule!r:.80}: give an origin or a list of origins, '*' for any, "
            "[] for no check, or None for the server's own"
        )
    single = isinstance(rule, (str, re.Pattern))
    if not single and not isinstance(rule, (list, tuple, set, frozenset)):
        raise OptionError(
            f"cors_allowed_origins: give a list of origins, not a {type(rule).__name__}"
        )
    if not single and not rule and not isinstance(rule, list):
        raise OptionError(
            f"cors_allowed_origins={rule!r} allows nobody: name an origin, or give [] for no check"
        )
    several = [rule] if single else list(rule)
    for each in several:
        _check(each, alone="*" not in several)


def _check_function(rule: Any) -> None:
    try:
        check_plain(rule)
    except TypeError as error:
        raise OptionError(
            "cors_allowed_origins: the function has to be plain, not async and without `yield`"
        ) from error
    try:
        parameters = inspect.signature(rule).parameters.values()
    except (TypeError, ValueError):  # some built-ins have none
        return
    needed = [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    taken = sum(each.kind is not each.KEYWORD_ONLY for each in parameters)
    if len(needed) > 2 or not taken or any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise OptionError("cors_allowed_origins: the function takes (origin) or (origin, environ)")


def _check(origin: Any, *, alone: bool) -> None:
    if isinstance(origin, re.Pattern):
        if isinstance(origin.pattern, bytes):
            raise OptionError("cors_allowed_origins: compile the expression from a str, not bytes")
        if alone and _fits_nothing(origin):
            raise OptionError(
                f"cors_allowed_origins: no origin fits {origin!r:.200}, since an expression has to "
                f"fit the whole origin: write re.compile(r'{_whole(origin.pattern)}')"
            )
        meant, why = _meant(_text_of(origin))
        if why in (_CASE, _PATH, _PORT):
            raise OptionError(
                f"cors_allowed_origins: no browser sends what {origin!r:.200} fits"
                f"{_told(meant, why)}"
            )
        return
    if not isinstance(origin, str):
        raise OptionError(
            f"cors_allowed_origins: an origin is a string or a compiled expression, not {origin!r}"
        )
    if origin in ("*", "null"):
        return
    if "," in origin or len(origin.split()) > 1:
        several = [each for each in re.split(r"[\s,]+", origin) if each]
        raise OptionError(
            f"cors_allowed_origins={origin!r} names several origins in one string: give a list, "
            f"{several!r}"
        )
    meant, why = _meant(origin)
    if why is not None:
        raise OptionError(f"cors_allowed_origins: no browser sends {origin!r}{_told(meant, why)}")


def same_site(origin: str) -> str:
    """``origin`` in lower case, without its default port, with ``https`` in place of ``wss``.

    For origins in the headers of proxies and clients: two spellings of one origin become equal.
    """
    scheme, separator, rest = origin.strip().lower().partition("://")
    scheme = _PAGES.get(scheme, scheme)
    port = _DEFAULT_PORTS.get(scheme)
    if port is not None and rest.endswith(f":{port}"):
        rest = rest[: -len(port) - 1]
    return f"{scheme}{separator}{rest}"


# -- the right spelling ----------------------------------------------------------------------------

_CASE = "an origin is in lower case"
_PATH = "an origin has no path"
_PORT = "browsers leave out the default port"


def _told(meant: str | None, why: str | None) -> str:
    if meant is None:
        return f": {why or _LIKE}"
    return f", {why}: write {meant}" if why else f": write {meant}"


def _meant(origin: str) -> tuple[str | None, str | None]:
    """The right spelling of ``origin``, `None` if unknown, and what is wrong with it."""
    if "*" in origin or "\\" in origin:
        return None, _pattern(origin)
    if not origin.strip():
        return None, "name an origin, like https://example.com; [] turns the check off"
    if origin != origin.strip():
        return _meant(origin.strip())[0], "it has white space around it"
    match = _PARTS.fullmatch(origin)
    if match is None or match["scheme"].lower() not in (*_DEFAULT_PORTS, *_PAGES):
        return _other(origin)
    scheme, rest = match["scheme"].lower(), match["rest"]
    host, trouble = _host(match["host"].lower())
    port = match["port"]
    if host is None or (port is not None and not _is_port(port)):
        return None, f"{trouble or 'its port is invalid'}; {_LIKE}"
    meant = f"{_PAGES.get(scheme, scheme)}://{host}"
    if port is not None and port != _DEFAULT_PORTS.get(_PAGES.get(scheme, scheme)):
        meant += f":{port}"
    if rest:
        return meant, _PATH
    if scheme in _PAGES:
        return meant, "an origin has the scheme of the page, not of the WebSocket"
    if trouble is not None or meant != origin:
        lower = origin.lower()
        return meant, trouble or (_CASE if lower == meant else _PORT)
    return meant, None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and int(text) < 65536


def _host(host: str) -> tuple[str | None, str | None]:
    """A host as browsers write it, and what is wrong with its spelling."""
    if host.startswith("["):
        try:
            short = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None, "its host is not a valid address"
        return short, None if short == host else "browsers write this address in a shorter form"
    if host.endswith(".") and len(host) > 1:
        return _host(host.rstrip("."))[0], "its host ends with a dot"
    if not host.isascii():
        try:
            return host.encode("idna").decode(), "browsers write such a name in ASCII"
        except UnicodeError:
            return None, "its host is not a valid name"
    if not _HOST.fullmatch(host) or ".." in host:
        return None, "its host is not a valid name"
    if host.rpartition(".")[2].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return None, "its host is not a valid address"
    return host, None


def _other(origin: str) -> tuple[str | None, str | None]:
    """An origin of another scheme (``capacitor://localhost``), or of none."""
    scheme, separator, rest = origin.partition("://")
    if scheme.lower() in (*_DEFAULT_PORTS, *_PAGES):
        return None, _LIKE
    if _OTHER.fullmatch(origin):
        return origin, None
    if not separator:  # "example.com", "//example.com", "https:example.com"
        bare = re.sub(r"^(?:https?:)?/*", "", origin, flags=re.IGNORECASE)
        local = bare.lower().startswith(("localhost", "127.", "[::1]"))
        secure = not local and not origin.lower().startswith("http:")
        meant = _meant(f"{'https' if secure else 'http'}://{bare}")[0] if bare else None
        return meant, f"it has no scheme; {_LIKE}" if meant is None else "an origin has a scheme"
    where = re.split(r"[/?#]", rest)[0]
    if _OTHER.fullmatch(f"{scheme.lower()}://{where}"):
        return f"{scheme.lower()}://{where}", _PATH if where != rest else _CASE
    return None, _LIKE


def _fits_nothing(expression: re.Pattern[str]) -> bool:
    """Whether an expression has nothing that could stand for the ``://`` of an origin.

    As on Node, where it has to fit a part: ``/\\.example\\.com$/``.
    """
    if expression.flags & re.VERBOSE or expression.fullmatch("null"):
        return False
    text = re.sub(r"\(\?[a-zA-Z-]*:", "(", expression.pattern)  # the colon of a group
    text = re.sub(r"\\[./-]", "", text)
    if re.search(r"[:\[]|\\[^AbBdswZ]|[.)][*+{]", text):
        return False
    return text.count(".") < len("://")


def _text_of(expression: re.Pattern[str]) -> str:
    """The only text that an expression fits; ``"null"`` if there may be several."""
    text = expression.pattern.removeprefix("^").removesuffix("$")
    text = re.sub(r"\\([./:-])", r"\1", text)
    if expression.flags & (re.VERBOSE | re.IGNORECASE) or re.search(r"[\\*+?^$|()\[\]{}]", text):
        return "null"
    return text


def _whole(part: str) -> str:
    """What was most likely meant by an expression that fits a part of an origin."""
    ending = part.strip("^$") or r"\.example\.com"
    return f"https://[a-z0-9-]+{ending}" if ending[:2] == r"\." else f"https://{ending}"


def _pattern(origin: str) -> str:
    if "\\" in origin or ".*" in origin or origin.startswith("^"):
        expression = origin.strip("^$")
        return f"a pattern is a compiled expression: write re.compile(r{expression!r})".replace(
            "\\\\", "\\"
        )
    if re.fullmatch(r"[a-z+.-]+://\*\.[a-z0-9.-]+(?::\d+)?", origin):
        expression = re.escape(origin).replace(r"\*", "[a-z0-9-]+").replace("\\-", "-")
        return f"a pattern is a compiled expression: write re.compile(r'{expression}')"
    return (
        "only Server(cors_allowed_origins=) in Python takes patterns, as compiled expressions: "
        "re.compile(r'https://[a-z0-9-]+\\.example\\.com')"
    )
