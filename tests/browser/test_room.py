"""What people do in the room: switches, screens, chat, names, coming and going."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import OpenTab
from tests.browser.tabs import bystander, together
from tests.integration.servers import Running, running


def test_both_enter_by_the_form_with_the_keyboard_alone(open_tab: OpenTab, room: str) -> None:
    ada = open_tab().open()
    assert ada.page.evaluate("document.activeElement.id") == "name"
    for keys in ("Ada", "Tab", room, "Enter"):
        if keys in ("Tab", "Enter"):
            ada.page.keyboard.press(keys)
        else:
            ada.page.keyboard.press("Control+A")
            ada.page.keyboard.type(keys)
    ada.wait_inside()
    assert ada.page.evaluate("document.activeElement.id") == "mic"
    ben = open_tab().open(room, "Ben")
    ben.wait_for_video("Ada")


def test_switches_show_on_the_others_tiles(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.press("Microphone")
    ada.state_of("Ben", "microphone off")
    ben.press("Camera")
    ada.state_of("Ben", "camera off")
    assert ada.frames("Ben") == -1
    # The camera itself is let go, so that its light goes out.
    ben.wait("() => !document.querySelector('.own video').srcObject.getVideoTracks().length")

    cem = open_tab().open(room, "Cem")
    cem.state_of("Ben", "microphone off", "camera off")
    ben.press("Microphone")
    ben.press("Camera")
    for tab in (ada, cem):
        tab.state_of("Ben", "microphone on", "camera on")
        tab.wait_for_video("Ben")


def test_a_shared_screen_is_seen_also_by_who_comes_later(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.press("Share screen")
    ada.wait_for_video("Screen of Ben", where="#screens")
    ada.state_of("Ben", "is sharing the screen")
    cem = open_tab().open(room, "Cem")
    cem.wait_for_video("Screen of Ben", where="#screens")
    cem.wait_for_video("Ben", "Ada")

    ben.press("Share screen")
    for tab in (ada, ben, cem):
        tab.page.locator("#screens").wait_for(state="hidden")
    ben.press("Share screen")  # over the transceivers that the first has left
    for tab in (ada, cem):
        tab.wait_for_video("Screen of Ben", where="#screens")
        tab.wait_for_video("Ben")


def test_chat_goes_from_peer_to_peer(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ada.say("hello <b>Ben</b>")
    ben.wait_for_text("#unread", "1")
    ben.press("Chat")
    ben.wait_for_message("hello <b>Ben</b>")
    ben.page.locator("#unread").wait_for(state="hidden")
    ben.say("hello Ada")
    ada.wait_for_message("hello Ada")
    assert ada.page.locator("#messages .own").count() == 1


def test_a_new_name_reaches_all_also_who_comes_later(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.press("Chat")
    field = ben.page.locator("#my-name")
    field.fill("Benjamin")
    field.press("Enter")
    field.blur()
    ada.wait_for_others("Benjamin")
    cem = open_tab().open(room, "Cem")
    cem.wait_for_others("Ada", "Benjamin")


def test_who_leaves_is_gone_at_once_and_may_come_back(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.press("Leave")
    ben.wait_outside()
    assert ben.page.url == f"{ben.url}/"
    ada.wait_for_others()
    assert ben.page.evaluate("document.activeElement.id") == "enter"
    ben.press("Join")
    ben.wait_for_video("Ada")
    ada.wait_for_video("Ben")


def test_nobody_needs_a_camera_or_a_microphone(
    open_tab: OpenTab, bare_browser: Browser, room: str
) -> None:
    ada = open_tab().open(room, "Ada")
    ben = open_tab(browser=bare_browser)
    ben.page.goto(f"{ben.url}/?room={room}&name=Ben")
    ben.wait_for_text("#join-notice", "No camera and no microphone was found.")
    ben.press("Join")
    ben.wait_for_video("Ada")
    ada.state_of("Ben", "microphone off", "camera off")
    ben.say("I can see you")
    ada.wait_for_text("#unread", "1")
    ben.press("Camera")
    ben.wait_until_told("No camera was found.")
    assert ben.button("Camera").get_attribute("aria-pressed") == "false"


def test_the_link_leads_into_the_room(open_tab: OpenTab, room: str) -> None:
    ada = open_tab(permissions=["clipboard-read", "clipboard-write"]).open(room, "Ada")
    ada.wait_inside()
    ada.press("Copy link")
    ada.wait_until_told("copied")
    link = ada.page.evaluate("navigator.clipboard.readText()")
    ben, cem, dia = open_tab(), open_tab(), open_tab()
    for tab in (ben, cem, dia):
        tab.page.goto(link)
        tab.press("Join")
        tab.wait_for_video("Ada")
    ada.wait_for_others("Guest", "Guest 2", "Guest 3")
    dia.wait_for_others("Ada", "Guest", "Guest 2")
    ben.wait_for_others("Ada", "Guest 2", "Guest 3")


@pytest.mark.parametrize("site", ["two-seats"], indirect=True, scope="session")
def test_a_full_room_says_so(open_tab: OpenTab, site: Running, room: str) -> None:
    with bystander(site, room), bystander(site, room):
        ada = open_tab().open(room, "Ada")
        ada.wait_for_text("#join-notice", "This room is full.")
    site.eventually("/health", lambda figures: figures["rooms"] == 0)
    ada.press("Join")
    ada.wait_inside()


# What the peers say to each other comes later than what the server says, as on a busy machine.
LATE = """() => {
  const found = Object.getOwnPropertyDescriptor(RTCDataChannel.prototype, "onmessage");
  const set = function (heard) {
    found.set.call(this, (event) => setTimeout(() => heard(event), 1_000));
  };
  Object.defineProperty(RTCDataChannel.prototype, "onmessage", { ...found, set });
}"""


@pytest.mark.parametrize("late", [False, True], ids=["in-time", "peers-heard-late"])
def test_a_server_that_restarts_gets_everybody_back(
    open_tab: OpenTab, room: str, late: bool
) -> None:
    with running("public-server", "") as server:
        port = server.port
        ada, ben = (open_tab(url=server.url, fresh=late) for _ in range(2))
        for tab, name in ((ada, "Ada"), (ben, "Ben")):
            if late:
                tab.page.add_init_script(f"({LATE})()")
            tab.open(room, name)
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        for tab in (ada, ben):
            tab.watch_tiles()
            tab.forget_told()
        server.terminate()
    for tab in (ada, ben):
        tab.wait_until_told("The connection to the server is lost")
    with running("public-server", "", port=port) as server:
        for tab in (ada, ben):
            tab.wait("() => !document.getElementById('banner').textContent")
        cem = open_tab(url=server.url).open(room, "Cem")
        cem.wait_for_video("Ada", "Ben")
        time.sleep(1.5)  # the time that a connection is kept which another has replaced
        for tab, others in ((ada, ("Ben", "Cem")), (ben, ("Ada", "Cem"))):
            tab.wait_for_others(*others)
            tab.wait_for_video(*others)
            assert tab.most_seen == 2
