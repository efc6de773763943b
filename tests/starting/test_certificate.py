"""``--cert``, ``--key`` and ``--self-signed``: the arguments, and a certificate that is valid."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rtcio_sync.errors import OptionError
from rtcio_sync.starting.certificate import handed_on, self_signed, tls_arguments


@pytest.mark.parametrize(
    ("cert", "key", "signed_here", "fix"),
    [
        ("c.pem", None, True, "leave out --cert"),
        (None, "k.pem", True, "leave out --cert"),
        (None, "k.pem", False, "--key needs --cert"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    cert: str | None, key: str | None, signed_here: bool, fix: str
) -> None:
    with (
        pytest.raises(OptionError, match=fix),
        tls_arguments(cert, key, signed_here=signed_here, host=""),
    ):
        pass


def test_what_is_given_is_passed_on() -> None:
    with tls_arguments("c.pem", "k.pem", signed_here=False, host="") as given:
        assert given == {"certfile": "c.pem", "keyfile": "k.pem"}
    with tls_arguments("both.pem", None, signed_here=False, host="") as given:
        assert given == {"certfile": "both.pem"}
    with tls_arguments(None, None, signed_here=False, host="") as given:
        assert given == {}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "10.1.2.3"])
def test_a_client_that_trusts_the_certificate_accepts_each_name_of_this_machine(name: str) -> None:
    with self_signed("10.1.2.3") as (cert, key):
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(cert, key)
        client_side = ssl.create_default_context(cafile=cert)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            serving = threading.Thread(target=handshake, args=(server_side, ours))
            serving.start()
            with client_side.wrap_socket(theirs, server_hostname=name) as client:
                assert client.recv(2) == b"ok"
            serving.join()


def handshake(context: ssl.SSLContext, sock: socket.socket) -> None:
    with context.wrap_socket(sock, server_side=True) as server:
        server.sendall(b"ok")


def test_only_this_user_can_read_the_key_and_nothing_is_left_behind() -> None:
    with self_signed() as (_, key):
        folder = Path(key).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_child_has_the_certificate_of_its_parent_and_what_it_starts_has_not() -> None:
    program = (
        "import os\n"
        "from rtcio_sync.starting.certificate import self_signed\n"
        "with self_signed() as (cert, key): print(cert, *(n for n in os.environ if 'RTCIO_S' in n))"
    )
    with tls_arguments(None, None, signed_here=True, host="") as tls:
        before = dict(os.environ)
        handed = handed_on(tls)
        said = subprocess.run(
            [sys.executable, "-c", program],
            env={**before, **handed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.split() == [tls["certfile"]]
        assert Path(tls["certfile"]).exists()
        assert not handed.keys() & before.keys(), "an app in this process does not have it either"


def test_a_name_of_other_letters_is_in_the_certificate_as_browsers_ask_for_it() -> None:
    with self_signed("b\u00fccher.example") as (cert, _):
        shown = subprocess.run(
            ["openssl", "x509", "-in", cert, "-noout", "-text"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert "DNS:xn--bcher-kva.example" in shown.stdout


def test_what_cannot_be_a_hosts_name_is_refused() -> None:
    with pytest.raises(OptionError, match="is not a host's name"), self_signed("\u00fc..example"):
        pass


def test_without_openssl_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    fix = r"openssl: install it, or give .* --cert and --key"
    with pytest.raises(OptionError, match=fix), self_signed():
        pass
