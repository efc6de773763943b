"""The distribution's Firefox, driven over WebDriver BiDi: no other program is needed for it.

https://w3c.github.io/webdriver-bidi/
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser.tabs import CALLS, CONNECTIONS, DEADLINE
from tests.integration.servers import free_port

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox") or ""

# A fake camera and microphone, given away unasked, and addresses as they are.
_PREFERENCES = {
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.volume_scale": "0.0",
    "remote.prefs.recommended": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.disabledForTesting": True,
}


class FirefoxTab:
    """A tab of Firefox."""

    def __init__(self, socket: ClientConnection, context: str) -> None:
        self._socket, self._context = socket, context
        self._ids = itertools.count(100)

    def goto(self, url: str) -> None:
        _command(
            self._socket, next(self._ids), "browsingContext.navigate",
            {"context": self._context, "url": url, "wait": "complete"},
        )  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """The value of an expression: a string, a number, a boolean or null."""
        answer = _command(
            self._socket, next(self._ids), "script.evaluate",
            {
                "expression": expression, "target": {"context": self._context},
                "awaitPromise": True, "userActivation": True,
            },
        )  # fmt: skip
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        end = time.monotonic() + DEADLINE
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"not within {DEADLINE} s: {expression}"
            time.sleep(0.1)

    def join(self, url: str, room: str, name: str) -> None:
        self.goto(f"{url}/?room={room}&name={name}")
        self.wait("document.getElementById('entrance')?.checkVisibility()")
        self.evaluate("document.getElementById('enter').click()")
        self.wait("document.getElementById('call').checkVisibility()")

    def wait_for_video(self, *names: str, where: str = "#people-tiles") -> None:
        """Wait until each one's video goes on, in sight.

        Firefox without a window counts no frames of a video.
        """
        for name in names:
            video = (
                f"[...document.querySelectorAll('{where} .tile')].find((each) => "
                f"each.querySelector('.name').textContent === {json.dumps(name)})"
                "?.querySelector('video')"
            )
            self.wait(f"{video}?.videoWidth && getComputedStyle({video}).visibility === 'visible'")
            before = self.evaluate(f"{video}.currentTime")
            self.wait(f"{video}?.currentTime > {before}")


def _command(socket: ClientConnection, number: int, method: str, params: dict[str, Any]) -> Any:
    socket.send(json.dumps({"id": number, "method": method, "params": params}))
    while True:
        answer = json.loads(socket.recv(timeout=DEADLINE))
        if answer.get("id") == number:
            assert answer["type"] == "success", answer
            return answer["result"]


@contextmanager
def firefox() -> Iterator[FirefoxTab]:
    """A Firefox of its own, with one tab."""
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        process = subprocess.Popen(
            [FIREFOX, "--headless", "--no-remote", "--profile", profile,
             "--remote-debugging-port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            with _connected(port) as socket:
                _command(socket, 1, "session.new", {"capabilities": {}})
                (context, *_) = _command(socket, 2, "browsingContext.getTree", {})["contexts"]
                connections = {"functionDeclaration": f"() => {{ {CONNECTIONS} }}"}
                _command(socket, 3, "script.addPreloadScript", connections)
                tab = FirefoxTab(socket, context["context"])
                try:
                    yield tab
                except AssertionError:
                    print("Firefox:", tab.evaluate(CALLS))
                    raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _connected(port: int) -> ClientConnection:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/session", max_size=None)
        except (OSError, TimeoutError):
            assert time.monotonic() < end, "Firefox does not listen"
            time.sleep(0.2)
