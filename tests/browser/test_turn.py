"""Calls through a real TURN server (coturn), with the credentials that `ask-ice` gives."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import OpenTab
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running, free_port, running
from tests.timing import DEADLINE

SECRET = "the secret of a test"

# All connections of the page go through a TURN server, and are kept to look at.
_RELAYED = """const Real = RTCPeerConnection;
window.calls = [];
window.RTCPeerConnection = class extends Real {
  constructor(options) {
    super({ ...options, iceTransportPolicy: "relay" });
    window.calls.push(this);
  }
};"""

# The kinds of the candidates that a call uses.
_KINDS = """async () => {
  const stats = await calls[0].getStats();
  const pair = [...stats.values()].find((each) =>
    each.type === "candidate-pair" && each.nominated && each.state === "succeeded");
  return [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.get(id).candidateType);
}"""

# Asks a TURN server for a relay: the candidates that come, and the errors (RFC 8489: 401).
_ASK = """async (iceServers) => {
  const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: "relay" });
  const found = [], errors = [];
  pc.onicecandidateerror = ({ errorCode }) => errors.push(errorCode);
  const ended = new Promise((resolve) => {
    pc.onicecandidate = ({ candidate }) => (candidate ? found.push(candidate.type) : resolve());
  });
  pc.createDataChannel("any");
  await pc.setLocalDescription();
  await ended;
  pc.close();
  return [found.filter(Boolean), errors];
}"""


@dataclass(frozen=True)
class Turn:
    host: str

    def environ(self, ttl: int) -> dict[str, str]:
        return {"TURN_HOSTS": self.host, "TURN_SECRET": SECRET, "TURN_TTL": str(ttl)}


def own_address() -> str:
    """An address of this machine that is not the loopback: browsers do not gather that one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def coturn() -> Iterator[Turn]:
    address, port = own_address(), free_port()
    program = shutil.which("turnserver")
    assert program, "make system installs it"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "turn.log"
        process = subprocess.Popen(
            [
                program, "-n", "--listening-ip", address, "--relay-ip", address,
                "--listening-port", str(port), "--use-auth-secret",
                "--static-auth-secret", SECRET, "--realm", "test", "--no-tls", "--no-dtls",
                "--no-cli", "--allow-loopback-peers", "--pidfile", f"{folder}/pid",
                "--userdb", f"{folder}/db", "--log-file", str(log), "--simple-log",
            ],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            end = time.monotonic() + DEADLINE
            while True:
                try:
                    socket.create_connection((address, port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text() if log.exists() else "no log"
                    assert time.monotonic() < end
                    time.sleep(0.1)
            yield Turn(f"{address}:{port}")
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def turn() -> Iterator[Turn]:
    with coturn() as turn:
        yield turn


def asked(server: Running) -> list[dict[str, Any]]:
    """What `ask-ice` answers."""
    with RawWebSocket(server) as peer:
        peer.join()
        peer.send(peer.event('["ask-ice"]', 7))
        while not (answer := str(peer.receive())).startswith("437["):
            pass
    found: list[dict[str, Any]] = json.loads(answer[3:])[0]["iceServers"]
    return found


def test_a_call_goes_through_a_turn_server_with_the_credentials_of_ask_ice(
    open_tab: OpenTab, turn: Turn, room: str
) -> None:
    with running("public-server", "", environ=turn.environ(600)) as server:
        ada, ben = (open_tab(url=server.url, fresh=True) for _ in range(2))
        for tab, name in ((ada, "Ada"), (ben, "Ben")):
            tab.page.add_init_script(_RELAYED)
            tab.open(room, name)
        for tab, other in ((ada, "Ben"), (ben, "Ada")):
            tab.wait_for_video(other)
            assert tab.page.evaluate(_KINDS) == ["relay", "relay"]


def test_a_turn_server_refuses_credentials_that_expired(open_tab: OpenTab, turn: Turn) -> None:
    tab = open_tab(fresh=True).open()
    with running("public-server", "", environ=turn.environ(600)) as server:
        valid = asked(server)
    with running("public-server", "", environ=turn.environ(1)) as server:
        expired = asked(server)
    while time.time() < int(expired[0]["username"]) + 1:
        time.sleep(0.1)
    found, errors = tab.page.evaluate(_ASK, expired)
    assert found == []
    assert 401 in errors
    found, _ = tab.page.evaluate(_ASK, valid)
    assert set(found) == {"relay"}
