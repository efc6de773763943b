"""What `listen` is told: converted, or refused with the fix. Nothing is opened."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import flask
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rtcio_sync.errors import OptionError
from rtcio_sync.serving.listen_options import Listening
from tests.unrun import coroutine, generator


def asked(threads: bool = False, **given: Any) -> Listening:
    port, host = given.pop("port", 0), given.pop("host", "127.0.0.1")
    known = {"logger", "ping_interval"}
    return Listening.of(port, host, given, threads=threads, of_server=known)


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "port None": ({"port": None}, "port=None: give a number"),
    "port bool": ({"port": True}, "port=True: give a number"),
    "port float": ({"port": 3001.5}, "port=3001.5: give a number"),
    "port too high": ({"port": 65536}, "to 65535"),
    "port negative": ({"port": -1}, "from 0"),
    "port no number": ({"port": "http"}, "give a number"),
    "port and host swapped": ({"port": "0.0.0.0", "host": 3001}, "the host after it"),
    "port an app": ({"port": flask.Flask("x")}, re.escape("listen(port, app=app)")),
    "host None": ({"host": None}, "host=None: give a name or an address"),
    "host empty": ({"host": ""}, "give a name or an address"),
    "host with port": ({"host": "localhost:3001"}, "port is a separate argument"),
    "host a URL": ({"host": "http://localhost"}, "give a name or an address"),
    "host bytes": ({"host": b"localhost"}, "give a name or an address"),
    "host Node's callback": ({"host": lambda: None}, re.escape("write listen(port, ready=…)")),
    "host an app": ({"host": flask.Flask("x")}, re.escape("write listen(port, app=app)")),
    "host Node's options": ({"host": {"cors": {}}}, "those of Server to Server"),
    "app text": ({"app": "app:app"}, "the WSGI application itself"),
    "app async": ({"app": asgi}, "ASGI"),
    "app async object": ({"app": Asgi()}, "ASGI"),
    "ready": ({"ready": 3}, "ready=3: give a plain function"),
    "ready without the port": ({"ready": lambda: None}, re.escape("of the port: fn(port)")),
    "ready, a generator": ({"ready": generator}, "give a plain function of the port"),
    "ready, a coroutine": ({"ready": coroutine}, "give a plain function of the port"),
    "debug": ({"debug": True}, "no option 'debug'; leave it out"),
    "use_reloader": ({"use_reloader": True}, "leave it out"),
    "threaded": ({"threaded": True}, "async_mode='threading'"),
    "log_output": ({"log_output": True}, "log='default'"),
    "allow_unsafe_werkzeug": ({"allow_unsafe_werkzeug": True}, "leave it out"),
    "workers": ({"workers": 4}, "gunicorn"),
    "ssl": ({"ssl": True}, "ssl_context"),
    "misspelt": ({"certfil": "x"}, "did you mean 'certfile'"),
    "cors": ({"cors_allowed_origins": "*"}, re.escape("Server(cors_allowed_origins=")),
    "Server's": ({"ping_interval": 9}, re.escape("one of Server: Server(ping_interval=…)")),
    "logger": ({"logger": True}, re.escape("Server(logger=…), or log=")),
    "unknown": ({"colour": 1}, "no option 'colour'; it has app"),
    "keyfile alone": ({"keyfile": "key.pem"}, "needs certfile"),
    "no such certfile": ({"certfile": "/nowhere/a.pem", "keyfile": "/b"}, "no such file"),
    "certfile no path": ({"certfile": 3}, "give the path"),
    "ssl_context True": ({"ssl_context": True}, r"give \(certfile, keyfile\)"),
    "ssl_context text": ({"ssl_context": "cert.pem"}, r"give \(certfile, keyfile\)"),
    "ssl_context one": ({"ssl_context": ("a",)}, r"give \(certfile, keyfile\)"),
    "ssl_context files": ({"ssl_context": ("/nowhere/a", "/nowhere/b")}, "no such file"),
    "ssl_context and certfile": (
        {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certfile": "a"},
        "leave out keyfile",
    ),
}


@pytest.mark.parametrize("threads", [False, True], ids=["gevent", "threading"])
@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_argument_is_refused_with_the_fix(name: str, threads: bool) -> None:
    given, message = WRONG[name]
    with pytest.raises(OptionError, match=message):
        asked(threads, **given)


PYWSGIS: dict[str, tuple[dict[str, Any], str]] = {
    "backlog": ({"backlog": "128"}, "backlog='128': give the number"),
    "backlog 0": ({"backlog": 0}, "backlog=0: give the number"),
    "spawn": ({"spawn": "threads"}, "a gevent.pool.Pool"),
    "spawn -1": ({"spawn": -1}, "a gevent.pool.Pool"),
    "log": ({"log": True}, "log=True: give a file"),
    "error_log": ({"error_log": "errors.log"}, "error_log='errors.log': give a file"),
    "environ": ({"environ": ["a"]}, "give a dict"),
    "handler_class": ({"handler_class": "ours"}, "a subclass of gevent.pywsgi.WSGIHandler"),
}


@pytest.mark.parametrize("wrong", PYWSGIS)
def test_an_invalid_option_of_pywsgis_is_refused_with_the_fix(wrong: str) -> None:
    given, message = PYWSGIS[wrong]
    with pytest.raises(OptionError, match=message):
        asked(**given)


def test_what_only_gevents_server_takes_is_refused_on_threads() -> None:
    assert asked(backlog=5).pywsgi == {"backlog": 5}
    with pytest.raises(OptionError, match="backlog is for gevent's server"):
        asked(threads=True, backlog=5)


def test_a_port_may_be_text_as_in_an_environment_variable() -> None:
    assert asked(port="3001").port == 3001


def test_an_address_of_ipv6_may_have_brackets() -> None:
    assert asked(host="[::1]").host == "::1"


# -- TLS -------------------------------------------------------------------------------------------


def test_without_tls_there_is_no_context() -> None:
    assert asked().tls is None


def test_files_that_are_no_certificate_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(OptionError, match="not a certificate and its key in PEM"):
        asked(certfile=str(wrong), keyfile=str(wrong))


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(OptionError, match="the key is encrypted"):
        asked(certfile=tmp_path / "chain.pem", keyfile=tmp_path / "key.pem")
