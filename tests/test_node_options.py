"""The options of Node: each is refused with what to write here, and that is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync import Limits, OptionError, Server
from rtcio_sync.config.node_options import NODE_OPTIONS, instead_of
from rtcio_sync.config.option_names import plain
from rtcio_sync.options import Options

HERE = {name: each for name, each in NODE_OPTIONS.items() if each.here}
KNOWN = set(Options.__dataclass_fields__)


@pytest.mark.parametrize("name", [name for name in NODE_OPTIONS if name not in KNOWN])
def test_an_option_of_node_is_refused_with_ours(name: str) -> None:
    with pytest.raises(OptionError) as raised:
        Server(**{name: "x"})
    option = NODE_OPTIONS[name]
    said = f"write {option.said}" if option.here else option.said
    assert str(raised.value) == f"Server() has no option {name!r}; {said}"


@pytest.mark.parametrize("name", HERE)
def test_what_is_said_instead_is_accepted(name: str) -> None:
    text = HERE[name].here.replace("redis://…", "redis://localhost")
    given: dict[str, Any] = eval(f"dict({text})", {"Limits": Limits})
    assert set(given) <= KNOWN
    options = Options.of(given)
    assert options.given == set(given)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pingInterval", 25000, "write ping_interval=25, in seconds: "
         "Node's pingInterval: 25000 is in milliseconds"),
        ("pingTimeout", 1500, "write ping_timeout=1.5, in seconds: "
         "Node's pingTimeout: 1500 is in milliseconds"),
        ("connectTimeout", 60000, "write limits=Limits(connect_timeout=60), in seconds: "
         "Node's connectTimeout: 60000 is in milliseconds"),
        ("pingInterval", 30, "write ping_interval=25, in seconds"),
        ("pingInterval", None, "write ping_interval=25, in seconds"),
        ("pingInterval", True, "write ping_interval=25, in seconds"),
        ("maxHttpBufferSize", 1e8, "write max_http_buffer_size=1_000_000, in bytes"),
        ("colour", 1, None),
    ],
)  # fmt: skip
def test_a_number_of_node_is_told_in_our_unit(name: str, value: Any, said: str | None) -> None:
    assert instead_of(name, value) == said


def test_an_option_in_another_spelling_is_known_too() -> None:
    with pytest.raises(OptionError, match="never compressed"):
        Server(per_message_deflate=True)
    assert plain("perMessageDeflate") == plain("per_message_deflate")
