"""What a log may say of a client, and what a record looks like.

What a whole process logs while clients call and misbehave: `integration/test_logs_process.py`.
"""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
import socketio
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync import Server
from rtcio_sync.adapter import drops
from rtcio_sync.engineio import socket as engine_socket
from rtcio_sync.logs import LONGEST, Seldom, UpstreamLogger, about, brief, plain, tell
from rtcio_sync.transport import websocket as connection
from tests.clients import Polling, WebSocket
from tests.timing import settle, until

PACKAGE = Path(__file__).parent.parent / "rtcio_sync"
ID = "EaNiUPIm3-PLZa02AAAC"


class Shelf(logging.Handler):
    """Keeps the records of a logger of its own."""

    def __init__(self, level: int = logging.DEBUG) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.logger = logging.Logger("shelf", level)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [each.getMessage() for each in self.records]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_a_seldom_line_says_how_many_were_left_out() -> None:
    lines = Seldom()
    said = [lines.more(now) for now in (0, 1, 61, 62, 63, 122)]
    assert said[:3] == ["", None, " (and once more since the last such line)"]
    assert said[3:] == [None, None, " (and 2 more times since the last such line)"]


# -- words -----------------------------------------------------------------------------------------


@given(st.text())
def test_words_stay_on_one_line_of_printable_ascii(words: str) -> None:
    text = plain(words)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= LONGEST


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("join-room", "join-room"),
        ("it's", "it's"),
        ("a\nb\r\x1b[0m", r"a\nb\r\x1b[0m"),
        ("\u2028\u202e\x85", r"\u2028\u202e\x85"),
        ("\ud800", r"\ud800"),
        ("caf\xe9", r"caf\xe9"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 97 + "..."),
        ("\n" * 100, r"\n" * 48 + "\\..."),
        (None, ""),
        ({"sdp": "v=0"}, "<dict>"),
        (["v=0"], "<list>"),
        (b"v=0", "<bytes>"),
    ],
)
def test_words_are_escaped_and_cut(words: Any, text: str) -> None:
    assert plain(words) == text


def test_of_an_id_only_the_beginning_is_told() -> None:
    assert brief(ID) == "EaNiUP..."
    assert brief("a\nb") == r"a\nb..."
    assert brief(None) == ""


# -- fields ----------------------------------------------------------------------------------------


def test_fields_have_names_that_no_record_has() -> None:
    every = dict.fromkeys(about.__kwdefaults__, "x")
    fields = about(**every)
    assert set(fields) == {f"rtcio_{name}" for name in every}
    shelf = Shelf()
    shelf.logger.info("a clash would raise", extra=fields)
    assert vars(shelf.records[0]).items() >= fields.items()


def test_fields_are_fit_for_a_log() -> None:
    fields = about(sid=ID, connection=ID, event="a\nb", address=None, reason="")
    assert fields == {
        "rtcio_sid": "EaNiUP...",
        "rtcio_connection": "EaNiUP...",
        "rtcio_event": r"a\nb",
    }


def test_a_message_names_its_fields(shelf: Shelf) -> None:
    tell(shelf.logger, "%(rtcio_sid)s %(rtcio_event)s %(rtcio_reason)s", sid=ID, event="a\nb")
    (record,) = shelf.records
    assert record.getMessage() == r"EaNiUP... a\nb -"
    assert record.levelno == logging.DEBUG
    assert vars(record)["rtcio_sid"] == "EaNiUP..."
    assert record.funcName == "test_a_message_names_its_fields"


def test_a_message_may_have_no_fields(shelf: Shelf) -> None:
    tell(shelf.logger, "nothing is known", sid=None)
    assert shelf.lines == ["nothing is known"]


def test_in_the_hub_another_greenlet_does_the_logging(shelf: Shelf) -> None:
    tell(shelf.logger, "later", spawn=gevent.spawn)
    assert shelf.lines == []
    settle()
    assert shelf.lines == ["later"]


def test_nothing_is_made_for_a_log_that_is_off() -> None:
    shelf, spawned = Shelf(logging.INFO), []
    tell(shelf.logger, "never", spawn=spawned.append, sid=ID)
    assert (shelf.lines, spawned) == ([], [])


# -- upstream's lines ------------------------------------------------------------------------------


def test_upstreams_lines_are_made_harmless(shelf: Shelf) -> None:
    log = UpstreamLogger(shelf.logger)
    log.info("%s is entering room %s [%s]", ID, "tea\nforged", "/")
    log.info('emitting event "%s" to %s [%s]', "hello", [ID, "tea\n"], "/")
    log.info("%s: Sending packet %s data %s", ID, "MESSAGE", '2["offer",{"sdp":"v=0"}]')
    log.info("%s: Received packet %s data %s", ID, "MESSAGE", "<binary>")
    log.info("%s: Sending packet %s data %s", ID, "OPEN", {"sid": ID})
    log.warning("Cannot send to sid %s", ID)
    log.error("https://evil.example\n is not an accepted origin.")
    log.debug("waiting %d s, %s", 3, None)
    assert shelf.lines == [
        r"EaNiUP... is entering room tea\nforged [/]",
        r'emitting event "hello" to [EaNiUP..., tea\n] [/]',
        "EaNiUP...: Sending packet MESSAGE data of 24 characters",
        "EaNiUP...: Received packet MESSAGE data of 8 characters",
        "EaNiUP...: Sending packet OPEN data of <dict>",
        "Cannot send to sid EaNiUP...",
        r"https://evil.example\n is not an accepted origin.",
        "waiting 3 s, None",
    ]
    assert {each.funcName for each in shelf.records} == {"test_upstreams_lines_are_made_harmless"}


def test_upstreams_exceptions_keep_their_traceback(shelf: Shelf) -> None:
    try:
        raise ValueError("theirs")
    except ValueError:
        UpstreamLogger(shelf.logger).exception("service task exception")
    (record,) = shelf.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


@pytest.mark.parametrize("layer", ["logger", "engineio_logger"])
def test_a_logger_of_the_apps_own_gets_upstreams_lines(layer: str, shelf: Shelf) -> None:
    server = Server(**{layer: shelf.logger})
    own: Any = server.logger if layer == "logger" else server.eio.logger
    assert own.logger is shelf.logger
    assert own.name == "shelf", "all else of it is as it was"
    own.info("%s: closing", ID)
    assert shelf.lines[-1] == "EaNiUP...: closing"


@pytest.mark.parametrize("layer", ["logger", "engineio_logger"])
@pytest.mark.parametrize("order", [[True, False], [False, True], [None, True, False]])
def test_each_server_has_a_level_of_its_own(
    layer: str, order: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    servers = {asked: Server(**{layer: asked}) for asked in order}
    for asked, server in servers.items():
        caplog.clear()
        logger: Any = server.logger if layer == "logger" else server.eio.logger
        logger.debug("detail")
        logger.info("chatter of %s", asked)
        logger.error("fault")
        said = [each.getMessage() for each in caplog.records]
        assert said == (["chatter of True", "fault"] if asked else ["fault"])
        name = f"rtcio_sync.upstream.{'socketio' if layer == 'logger' else 'engineio'}"
        assert logging.getLogger(name).level == logging.NOTSET


def test_the_level_and_the_filters_that_an_app_gives_the_shared_logger_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, shared = Server(), logging.getLogger("rtcio_sync.upstream.socketio")
    with caplog.at_level(logging.DEBUG, logger=shared.name):
        server.logger.debug("detail")

    def none(record: logging.LogRecord) -> bool:
        return False

    shared.addFilter(none)
    try:
        server.logger.error("filtered")
    finally:
        shared.removeFilter(none)
    logging.disable(logging.ERROR)
    try:
        server.logger.error("disabled")
    finally:
        logging.disable(logging.NOTSET)
    assert [each.getMessage() for each in caplog.records] == ["detail"]


def test_a_logger_need_not_be_pythons() -> None:
    class Plain:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def info(self, *args: Any) -> None:
            self.said.append(args)

    plain = Plain()
    UpstreamLogger(plain).info("%s: closing", ID)
    assert plain.said == [("%s: closing", "EaNiUP...")]


def test_the_formatter_of_the_guide_writes_a_line_of_json_with_the_fields() -> None:
    guide = (PACKAGE.parent / "docs/deployment.md").read_text()
    (program,) = (each for each in guide.split("```") if "class JsonLines" in each)
    names: dict[str, Any] = {}
    exec(program[program.index("import") : program.index("handler =")], names)
    shelf = Shelf()
    tell(shelf.logger, "%(rtcio_event)s", sid=ID, event="a\nb")
    try:
        raise ValueError("theirs")
    except ValueError:
        shelf.logger.exception("failed")
    told, failed = (names["JsonLines"]().format(each) for each in shelf.records)
    assert (
        json.loads(told).items()
        >= {
            "level": "DEBUG",
            "logger": "shelf",
            "message": r"a\nb",
            "rtcio_event": r"a\nb",
            "rtcio_sid": "EaNiUP...",
        }.items()
    )
    assert json.loads(failed)["exception"].endswith("ValueError: theirs")
    assert "\n" not in told + failed


# -- the modules -----------------------------------------------------------------------------------

#: The loggers of others' messages, as the modules that hand them out write them.
FOR_OTHERS = {
    "socketio.server_arguments": {"name"},
    "engineio.server": {"'rtcio_sync.upstream.engineio'"},
    "serving.listen": {"'rtcio_sync.wsgi'"},
    "socketio.handler_call": {"'rtcio_sync.dispatch'"},  # what the documents call it
}


def test_no_logger_of_ours_inherits_from_upstreams() -> None:
    # An app that makes upstream's lines quiet, by their logger's level, would lose ours as well.
    assert not [path for path in PACKAGE.rglob("*") if path.stem == "upstream"]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module_of)
def test_a_module_logs_under_its_own_name(path: Path) -> None:
    module = module_of(path)
    allowed = {"__name__", f"'rtcio_sync.{module}'"} | FOR_OTHERS.get(module, set())
    text = path.read_text()
    if "getLogger" not in text and "print" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
            assert {ast.unparse(each) for each in node.args} <= allowed, node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            raise AssertionError(f"{path.name}:{node.lineno}: print is not for logs")


# -- the way of a message --------------------------------------------------------------------------


class Counted(logging.Logger):
    """Counts whatever is asked of it."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name not in ("asked", "__class__", "__dict__"):
            type(self).asked += 1
        return super().__getattribute__(name)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Counted]]:
    Counted.asked = 0
    for module, name in ((drops, "log"), (engine_socket, "log"), (connection, "logger")):
        log = Counted("counted", logging.INFO)
        monkeypatch.setattr(module, name, log)
    Counted.asked = 0
    yield Counted


@pytest.mark.parametrize("kind", [Polling, WebSocket])
def test_a_relayed_message_asks_nothing_of_a_logger(
    kind: Callable[[Server], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    a, b = kind(server).join(), kind(server).join()
    with counted(monkeypatch) as log:
        a.relay(b.sid, {"candidate": 1})
        until(lambda: server.counters.relayed)
        assert b.heard("#rtcio:message")
        assert log.asked == 0
        a.relay("nobody", {"candidate": 1})
        until(lambda: server.counters.dropped)
        assert log.asked, "what is dropped may be logged, and so is asked for"


# -- what is an error ------------------------------------------------------------------------------


def test_a_handlers_error_says_whose_event_it_was(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.on("fail", lambda sid: 1 / 0)

    @server.of("/calls").on("connection")
    def connected(socket: Any) -> None:
        socket.on("fail", lambda: 1 / 0)

    for namespace in ("/", "/calls"):
        caplog.clear()
        client = server.test_client(raise_exceptions=False, namespace=namespace)
        sid = str(client.sid)
        client.emit("fail")
        (record,) = caplog.records
        fields = vars(record)
        assert record.name == "rtcio_sync.dispatch"
        assert fields["rtcio_sid"] == f"{sid[:6]}..."
        assert fields["rtcio_namespace"] == namespace
        assert fields["rtcio_event"] == "fail"


def test_a_connect_handlers_error_says_whose_it_was(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.on("connect", lambda sid, environ: 1 / 0)
    server.test_client(raise_exceptions=False)
    (record,) = caplog.records
    assert vars(record)["rtcio_event"] == "connect"
    assert vars(record)["rtcio_sid"].endswith("...")


def test_a_message_that_fails_by_our_fault_is_an_error_of_its_connection(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("ours")

    server = Server()
    a = Polling(server).join()
    monkeypatch.setattr(server.handling, "event", broken)
    a.emit("chat", {"sdp": "v=0"})
    until(lambda: server.counters.closed)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert vars(record)["rtcio_connection"] == f"{a.eio_sid[:6]}..."
    assert "v=0" not in caplog.text


def test_upstream_says_what_is_wrong_without_being_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`logger=False` silences chatter, not faults: a bus that fails shows."""
    server = Server(client_manager=socketio.PubSubManager())
    server.logger.error("pubsub listen() exited unexpectedly")
    server.logger.info("chatter")
    assert [each.name for each in caplog.records] == ["rtcio_sync.upstream.socketio"]
