"""A person at the room page: what they do, and what they see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import ConsoleMessage, Error, Locator, Page

from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running

#: Seconds for what a page must show. Four tabs code and decode twelve streams, on two cores that
#: may be busy with other work.
DEADLINE = 240.0

# Frames that a tile's video has decoded, by the text of its name plate.
_FRAMES = """([list, name]) => {
  const tiles = [...document.querySelectorAll(`${list} .tile`)];
  const tile = tiles.find((each) => each.querySelector(".name").textContent === name);
  const video = tile?.querySelector("video");
  if (!video?.videoWidth || getComputedStyle(video).visibility !== "visible") return -1;
  return video.getVideoPlaybackQuality().totalVideoFrames;
}"""
_MORE_FRAMES = f"""([list, name, before]) => ({_FRAMES})([list, name]) > before"""

_NAMES = """() => [...document.querySelectorAll("#people-tiles .tile:not(.own) .name")]
  .map((each) => each.textContent).sort()"""

#: Remembers what the page tells for some seconds; on a busy machine it is gone when a test looks.
TOLD = """(() => {
  window.told = [];
  new MutationObserver(() => {
    for (const each of document.querySelectorAll("#notices > div, #banner")) {
      if (each.textContent !== window.told.at(-1)) window.told.push(each.textContent);
    }
  }).observe(document, { childList: true, subtree: true });
})();"""

#: Remembers the page's connections, so that a failed test can say what they had got.
CONNECTIONS = """(() => {
  window.connections = [];
  const Real = RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...given) { super(...given); window.connections.push(this); }
    createDataChannel(...given) { return (this.channel = super.createDataChannel(...given)); }
  };
})();"""

#: What a page saw of its calls, as JSON: the tiles, and what each connection had sent and got.
CALLS = """(async () => JSON.stringify({
  tiles: [...document.querySelectorAll(".tile")].map((each) => [
    each.className, each.textContent.replace(/\\s+/g, " "), each.querySelector("video").videoWidth,
    each.querySelector("video").srcObject?.getTracks().map((t) => [t.kind, t.readyState, t.muted]),
  ]),
  connections: await Promise.all((window.connections ?? []).map(async (each) => ({
    state: [each.connectionState, each.signalingState],
    ways: each.getTransceivers().map((way) => [way.mid, way.direction, way.currentDirection]),
    stats: [...(await each.getStats().catch(() => new Map())).values()]
      .filter(({ type, kind }) => /^(in|out)bound-rtp$/.test(type) && kind === "video")
      .map((each) => [each.type, each.mid, {
        packets: each.packetsReceived ?? each.packetsSent, frames: each.framesReceived,
        coded: each.framesDecoded ?? each.framesEncoded, asked: each.pliCount,
      }]),
  }))),
}))()"""

# Remembers how many others were to be seen at most, however briefly.
_WATCH = """() => {
  const list = document.getElementById("people-tiles");
  const count = () => list.querySelectorAll(".tile:not(.own)").length;
  window.mostSeen = count();
  new MutationObserver(() => { window.mostSeen = Math.max(window.mostSeen, count()); })
    .observe(list, { childList: true });
}"""


def wait_until_true(page: Page, expression: str, argument: Any = None) -> None:
    """Ask the page until a function says yes.

    Playwright's own ``wait_for_function`` asks from inside the page, by ``eval``, which the pages'
    Content-Security-Policy forbids there.
    """
    end = time.monotonic() + DEADLINE
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"not within {DEADLINE} s: {expression}"
        page.wait_for_timeout(50)  # ms; events of the page are told meanwhile


class Tab:
    """One tab with the room page."""

    def __init__(self, page: Page, url: str) -> None:
        self.url = url
        self.errors: list[str] = []
        self.page = page
        self.page.set_default_timeout(DEADLINE * 1000)
        self.page.on("pageerror", self._on_error)
        self.page.on("console", self._on_console)

    def detach(self) -> None:
        self.page.remove_listener("pageerror", self._on_error)
        self.page.remove_listener("console", self._on_console)

    def _on_error(self, error: Error) -> None:
        self.errors.append(f"{error}\n{error.stack}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # A refused connection is written there by the browser itself, and is what some tests do.
        expected = ("WebSocket connection to", "Failed to load resource: net::ERR_")
        if message.type == "error" and not any(each in message.text for each in expected):
            self.errors.append(message.text)

    # -- doing -------------------------------------------------------------------------------------

    def open(self, room: str | None = None, name: str | None = None) -> Tab:
        """Open the page; with a room and a name, press Join too."""
        query = {key: value for key, value in (("room", room), ("name", name)) if value}
        self.page.goto(f"{self.url}/?{urlencode(query)}" if query else f"{self.url}/")
        if room and name:
            self.press("Join")
        return self

    def reload(self) -> None:
        """Reload the page and enter again."""
        self.page.reload()
        self.press("Join")

    def fill(self, label: str, text: str) -> None:
        self.page.locator("#join").get_by_label(label).fill(text)

    def press(self, button: str) -> None:
        self.button(button).click()

    def say(self, text: str) -> None:
        """Write into the chat, key by key as a person does."""
        field = self.page.get_by_label("Message to all")
        if not field.is_visible():
            self.press("Chat")
        field.press_sequentially(text)
        field.press("Enter")

    # -- seeing ------------------------------------------------------------------------------------

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def others(self) -> list[str]:
        found: list[str] = self.page.evaluate(_NAMES)
        return found

    def wait_for_others(self, *names: str) -> None:
        """Wait until the tiles are those of ``names`` and no others."""
        self.wait(f"(names) => JSON.stringify(({_NAMES})()) === JSON.stringify(names)", names)

    def wait_inside(self) -> Tab:
        self.page.locator("#call").wait_for()
        return self

    def wait_outside(self) -> None:
        self.page.locator("#entrance").wait_for()

    def frames(self, name: str, where: str = "#people-tiles") -> int:
        found: int = self.page.evaluate(_FRAMES, [where, name])
        return found

    def wait_for_video(self, *names: str, where: str = "#people-tiles", more: int = 3) -> None:
        """Wait until ``more`` frames of each one's video than now are decoded, in sight."""
        for name in names:
            before = max(self.frames(name, where), 0) + more
            self.wait(_MORE_FRAMES, [where, name, before])

    def wait_for_text(self, selector: str, text: str) -> None:
        self.page.locator(selector, has_text=text).first.wait_for()

    def forget_told(self) -> None:
        """What notices and the banner have said before is not what a test waits for."""
        self.page.evaluate("() => { window.told = []; }")

    def wait_until_told(self, text: str) -> None:
        """Wait until a notice or the banner has said so, since the page or `forget_told`."""
        self.wait("(text) => window.told.some((each) => each.includes(text))", text)

    def wait_for_message(self, text: str) -> None:
        """Wait for a chat message of somebody else, whether or not the chat is open."""
        found = self.page.locator("#messages li:not(.own, .event) p", has_text=text)
        found.first.wait_for(state="attached")

    def wait(self, expression: str, argument: Any = None) -> None:
        wait_until_true(self.page, expression, argument)

    def state_of(self, name: str, *words: str) -> None:
        """Wait until somebody's tile says ``words``, like "microphone off"."""
        tile = self.page.locator("#people-tiles .tile").filter(
            has=self.page.locator(".name", has_text=name)
        )
        for word in words:
            tile.locator(".hidden:visible, .hidden", has_text=word).first.wait_for(state="attached")

    def record_sids(self) -> list[str]:
        """The sids that the server gives to this tab from now on, in a list that grows."""
        sids: list[str] = []

        def on_frame(frame: str | bytes) -> None:
            if isinstance(frame, str) and frame.startswith("40{"):
                sids.append(json.loads(frame[2:])["sid"])

        self.page.on("websocket", lambda each: each.on("framereceived", on_frame))
        return sids

    def watch_tiles(self) -> None:
        self.page.evaluate(_WATCH)

    @property
    def most_seen(self) -> int:
        found: int = self.page.evaluate("() => window.mostSeen")
        return found


def together(open_tab: Callable[..., Tab], room: str, *names: str, **options: Any) -> list[Tab]:
    """Tabs of these people, in one room, each seeing all the others."""
    tabs = [open_tab(**options).open(room, name) for name in names]
    for tab, own in zip(tabs, names, strict=True):
        tab.wait_for_video(*(name for name in names if name != own))
    return tabs


@contextmanager
def bystander(server: Running, room: str) -> Iterator[RawWebSocket]:
    """Somebody in the room whose client does nothing, and hears the server's very packets."""
    with RawWebSocket(server) as peer:
        peer.join()
        peer.send(peer.event(json.dumps(["join-room", {"roomId": room, "name": "Bystander"}])))
        while "join-ok" not in str(peer.receive()):
            pass
        yield peer
        peer.send("41")  # leaves, as opposed to being lost
