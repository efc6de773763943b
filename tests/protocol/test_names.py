"""Names of namespaces, rooms and events: one spelling each, and what is none is refused."""

from __future__ import annotations

import enum
import re
from collections import deque
from typing import Any

import pytest
from werkzeug.local import LocalProxy

from rtcio_sync.errors import OptionError
from rtcio_sync.protocol.names import (
    check_event,
    check_room,
    check_sid,
    namespace_name,
    namespace_names,
)


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "/"), ("", "/"), ("/", "/"), ("/calls", "/calls"), ("calls", "/calls")],
)
def test_a_namespace_has_one_spelling(given: Any, name: str) -> None:
    assert namespace_name(given) == name


@pytest.mark.parametrize("given", [3, True, b"/calls", ["/calls"], ("a",), {}, object()])
def test_what_is_no_name_of_a_namespace_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match="a namespace is a string like '/calls'"):
        namespace_name(given)


@pytest.mark.parametrize("given", ["/a,/b", "a,b", "/,", "/calls,"])
def test_a_comma_ends_the_name_of_a_namespace_on_the_wire(given: str) -> None:
    with pytest.raises(OptionError, match=r"ends at a comma on the wire: .*; give one name"):
        namespace_name(given)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, None),
        ("/calls", ["/calls"]),
        ("calls", ["/calls"]),
        ("*", "*"),
        (["calls", "/"], ["/calls", "/"]),
        (("calls",), ["/calls"]),
        ({"calls"}, ["/calls"]),
        (["*"], "*"),
        ([], []),
    ],
)
def test_the_option_namespaces_is_a_list_of_names(given: Any, names: Any) -> None:
    assert namespace_names(given) == names


@pytest.mark.parametrize("given", [3, "", [""], [None], [3], b"/a", {"/a": 1}, True])
def test_what_is_no_list_of_namespaces_is_refused(given: Any) -> None:
    with pytest.raises(OptionError):
        namespace_names(given)


def test_any_namespace_is_meant_only_where_it_may_be() -> None:
    assert namespace_name("*", catch_all=True) == "*"
    with pytest.raises(OptionError, match="not the name of one namespace"):
        namespace_name("*")


@pytest.mark.parametrize("given", [re.compile("/calls-.*"), lambda name: True])
def test_a_pattern_of_namespaces_is_refused_with_what_there_is_instead(given: Any) -> None:
    with pytest.raises(OptionError, match=re.escape("server.on(event, namespace='*')")):
        namespace_name(given)


@pytest.mark.parametrize("room", ["tea", "", 0, 7.5, False, b"bytes", Ellipsis])
def test_a_room_is_any_one_hashable_name(room: Any) -> None:
    check_room(room)


SEVERAL = [
    ["a"], ("a",), {"a"}, frozenset("a"), iter("a"), {1: "a"}.values(), range(3), deque("a"),
]  # fmt: skip


@pytest.mark.parametrize("room", SEVERAL, ids=range(len(SEVERAL)))
def test_several_rooms_are_no_room_and_the_fix_is_named(room: Any) -> None:
    with pytest.raises(OptionError, match="make a call for each room"):
        check_room(room)


@pytest.mark.parametrize("room", [None, {"room": "a"}, bytearray(b"a")], ids=repr)
def test_what_cannot_name_a_room_is_refused(room: Any) -> None:
    with pytest.raises(OptionError, match="check what the client sent"):
        check_room(room)


class Text(str):
    """As `markupsafe.Markup` and ``numpy.str_`` are."""


class Level(str, enum.Enum):
    HIGH = "high"


def test_a_text_of_a_class_of_its_own_counts_as_its_text() -> None:
    for given, text in ((Text("tea"), "tea"), (Level.HIGH, "high"), (Text(""), "")):
        for name in (check_room(given), check_sid(given)):
            assert (type(name), name) == (str, text)
    for given, text in ((Text("/a"), "/a"), (Text("a"), "/a"), (Text("/"), "/"), (Text(""), "/")):
        name = namespace_name(given)
        assert (type(name), name) == (str, text)
    assert namespace_name(Text("*"), catch_all=True) == "*"


def test_a_function_is_no_room() -> None:
    for room in (lambda: "tea", "tea".upper, len):
        with pytest.raises(OptionError, match="call it, and give what it returns"):
            check_room(room)


def test_an_event_is_registered_by_its_name() -> None:
    def chat() -> None: ...

    check_event("chat", "server")
    with pytest.raises(OptionError, match=re.escape("@server.on('chat'), or @server.event")):
        check_event(chat, "server")
    with pytest.raises(OptionError, match=re.escape("@socket.on('chat')") + "$"):
        check_event(chat, "socket")
    with pytest.raises(OptionError, match="is a string, not int"):
        check_event(3, "server")


def test_a_proxy_names_what_it_stands_for() -> None:
    proxy: Any = LocalProxy(lambda: "tea")
    for name in (check_room(proxy), check_sid(proxy)):
        assert type(name) is str and name == "tea"
    assert type(namespace_name(LocalProxy(lambda: "/calls"))) is str
