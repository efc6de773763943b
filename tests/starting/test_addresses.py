"""The addresses that are printed: what a browser on this machine opens, and one elsewhere."""

from __future__ import annotations

import errno
import ipaddress
import socket

import pytest

from rtcio_sync.starting import addresses
from rtcio_sync.starting.addresses import Addresses, lan_address, not_listening


@pytest.fixture
def in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "lan_address", lambda: "192.168.1.5")


@pytest.mark.usefixtures("in_a_network")
@pytest.mark.parametrize(
    ("host", "here", "network"),
    [
        ("0.0.0.0", "http://localhost:3001", "http://192.168.1.5:3001"),
        ("::", "http://localhost:3001", "http://192.168.1.5:3001"),
        ("127.0.0.1", "http://localhost:3001", None),
        ("::1", "http://localhost:3001", None),
        ("localhost", "http://localhost:3001", None),
        ("192.168.1.5", "http://192.168.1.5:3001", None),
        ("fe80::1", "http://[fe80::1]:3001", None),
        ("machine.example", "http://machine.example:3001", None),
    ],
)
def test_the_address_to_open_is_one_that_a_browser_can_open(
    host: str, here: str, network: str | None
) -> None:
    found = Addresses.of(host, 3001, tls=False)
    assert (found.here, found.network) == (here, network)


@pytest.mark.parametrize(
    ("host", "error", "said"),
    [
        (
            "::1",
            OSError(errno.EADDRINUSE, "Address already in use: ('::1', 1)"),
            "cannot listen on [::1]:1: Address already in use; stop the program that uses it, "
            "or choose another --port",
        ),
        ("nowhere", socket.gaierror(-2, "not known"), "cannot listen on nowhere:1: not known"),
        ("::1", OSError("Redis cannot be reached"), "Redis cannot be reached"),
    ],
)
def test_why_a_server_does_not_listen_is_never_left_out(
    host: str, error: OSError, said: str
) -> None:
    assert not_listening(host, 1, error) == said


@pytest.mark.usefixtures("in_a_network")
def test_with_tls_all_addresses_are_https() -> None:
    found = Addresses.of("0.0.0.0", 3001, tls=True)
    assert found == Addresses(
        "https://0.0.0.0:3001", "https://localhost:3001", "https://192.168.1.5:3001"
    )


def test_a_machine_without_a_network_has_no_address_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconnected(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unconnected)
    assert lan_address() is None
    assert Addresses.of("0.0.0.0", 3001, tls=False).network is None


def test_the_address_in_the_network_is_one_of_this_machine() -> None:
    found = lan_address()
    if found is not None:  # a machine without a network has none
        assert not ipaddress.ip_address(found).is_loopback
        with socket.create_server((found, 0)):
            pass
