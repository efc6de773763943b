"""How the page looks in each state: nothing covers anything, axe-core objects to nothing.

The test takes a picture of each state. ``make pictures`` keeps them in the documents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.browser.axe import violations
from tests.browser.conftest import ARTIFACTS, OpenTab
from tests.browser.crowd import SCRIPT, Crowd
from tests.browser.tabs import Tab

THROWN_AWAY = ARTIFACTS / "looks"
PICTURES = Path(os.environ.get("PICTURES") or THROWN_AWAY)
#: The pictures in the documents.
KEPT = {
    "entrance", "two", "four", "nine", "sixteen", "screen", "chat", "dark",
    "phone-upright", "phone-upright-chat", "phone-across",
}  # fmt: skip

# Our own camera shows a drawn person too, and not the browser's test picture.
_DRAWN = f"""(() => {{
  {SCRIPT}
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (asked) => {{
    const stream = await real(asked);
    for (const track of stream.getVideoTracks()) {{
      const [drawn] = portrait("Ada", 3).getVideoTracks();
      drawn.getSettings = () => track.getSettings();
      track.stop();
      stream.removeTrack(track);
      stream.addTrack(drawn);
    }}
    return stream;
  }};
}})();"""

# The boxes that lie over each other, or reach out of the window. Our own small picture may lie over
# the corner of another.
_COVERED = """() => {
  const visible = (element) => element.checkVisibility() && element.getClientRects().length;
  const parts = [...document.querySelectorAll(
    "#call > header, #banner, #notices > div, .tile, #controls, #panel")]
    .filter(visible).filter((each) => !each.closest(".floats") || !each.matches(".own"));
  const name = (element) => element.id || element.className || element.tagName;
  const boxes = parts.map((each) => [name(each), each.getBoundingClientRect()]);
  const out = boxes
    .filter(([, box]) => box.left < -1 || box.top < -1 ||
      box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
    .map(([what]) => `${what} is cut off`);
  const over = boxes.flatMap(([one, a], index) => boxes.slice(index + 1)
    .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
    .map(([other]) => `${one} and ${other} overlap`));
  const sideways = document.documentElement.scrollWidth > innerWidth;
  const wide = sideways ? ["the page scrolls sideways"] : [];
  return [...out, ...over, ...wide];
}"""


class Looks:
    """Somebody at the page with a crowd, whose states are looked at one by one."""

    def __init__(self, open_tab: OpenTab, room: str, **options: Any) -> None:
        self.tab: Tab = open_tab(**options)
        self.problems: list[str] = []
        self._room = room
        self._crowd_tab = open_tab(fresh=True)
        self._sids = self.tab.record_sids()
        self.tab.page.add_init_script(_DRAWN)

    def enter(self) -> Crowd:
        self.tab.press("Join")
        self.tab.wait_inside()
        return Crowd(self._crowd_tab, self.tab, self._sids[-1], self._room)

    def look(self, name: str) -> None:
        page = self.tab.page
        page.mouse.move(1, 1)  # no tile shows its buttons because of the mouse
        page.wait_for_timeout(300)  # ms: the layout and the pictures settle; nothing depends on it
        folder = PICTURES if name in KEPT else THROWN_AWAY
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        self.problems += [f"{name}: {each}" for each in page.evaluate(_COVERED)]
        self.problems += [f"{name}: {each}" for each in violations(page)]


def test_each_state_on_a_desk(open_tab: OpenTab) -> None:
    looks = Looks(open_tab, "tea", viewport={"width": 1280, "height": 800}, color_scheme="light")
    tab, page = looks.tab, looks.tab.page
    page.goto(f"{tab.url}/?room=tea&name=Ada")
    page.locator("#mirror.pictured").wait_for()
    looks.look("entrance")
    crowd = looks.enter()
    tab.press("Close people and chat")
    looks.look("alone")
    crowd.grow_to(1, speaks="Ben")
    looks.look("two")
    crowd.grow_to(3)
    looks.look("four")
    page.emulate_media(color_scheme="dark")
    looks.look("dark")
    page.emulate_media(color_scheme="light")
    tab.say("Shall we start?")
    crowd.say("Ben", "Yes. The plan is at https://example.com/plan.")
    crowd.say("Chidi", "Thank you!")
    tab.wait_for_message("Thank you!")
    looks.look("chat")
    tab.press("Close people and chat")
    crowd.grow_to(8)
    looks.look("nine")
    crowd.grow_to(15, shares="Inés")
    looks.look("sixteen")
    tab.press("Settings")
    looks.look("settings")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    looks.look("keys")
    page.keyboard.press("Escape")
    assert looks.problems == []


def test_a_shared_screen_on_a_desk(open_tab: OpenTab) -> None:
    looks = Looks(open_tab, "tea-2", viewport={"width": 1280, "height": 800})
    tab, page = looks.tab, looks.tab.page
    page.goto(f"{tab.url}/?room=tea-2&name=Ada")
    page.locator("#mirror.pictured").wait_for()
    crowd = looks.enter()
    tab.press("Close people and chat")
    crowd.grow_to(3, shares="Chidi")
    tab.wait_for_video("Screen of Chidi", where="#screens")
    looks.look("screen")
    # The tile has the shape of the screen: no dark bars.
    shape = "each => [each.clientWidth / each.clientHeight, each.videoWidth / each.videoHeight]"
    tile, screen = page.locator("#screens video").evaluate(shape)
    assert abs(tile / screen - 1) < 0.02
    # The sound of a shared tab is played too.
    sound = "each => [each.srcObject.getAudioTracks().length, each.muted, each.paused]"
    assert page.locator("#screens video").evaluate(sound) == [1, False, False]
    assert looks.problems == []


def test_eight_people_on_a_phone(open_tab: OpenTab) -> None:
    phone = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    looks = Looks(open_tab, "tea-3", viewport={"width": 390, "height": 844}, **phone)
    tab, page = looks.tab, looks.tab.page
    page.goto(f"{tab.url}/?room=tea-3&name=Ada")
    page.locator("#mirror.pictured").wait_for()
    looks.look("phone-entrance")
    crowd = looks.enter()
    crowd.grow_to(1)
    looks.look("phone-two")
    crowd.grow_to(7)
    looks.look("phone-upright")
    page.set_viewport_size({"width": 844, "height": 390})
    looks.look("phone-across")
    tab.say("Hello from the train")
    crowd.say("Ben", "Hello!")
    looks.look("phone-across-chat")
    page.set_viewport_size({"width": 390, "height": 844})
    looks.look("phone-upright-chat")
    assert looks.problems == []
