"""Before the call: nobody is live without a click; what goes wrong is said."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

from tests.browser.conftest import OpenTab
from tests.browser.tabs import bystander, together
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running, running


def test_a_shared_link_shows_a_preview_and_puts_nobody_on_camera(
    open_tab: OpenTab, new_browser: Browser, site: Running, room: str
) -> None:
    with bystander(site, room) as peer:
        ada = open_tab(browser=new_browser)
        sids = ada.record_sids()
        ada.page.goto(f"{ada.url}/?room={room}&name=Ada")
        ada.page.locator("#mirror.pictured").wait_for()
        # The lists of devices are there, and the meter moves once the page has had a click.
        for label in ("Use this microphone", "Use this camera"):
            assert ada.page.get_by_label(label).locator("option").count() >= 1
        ada.press("Camera")
        ada.wait_for_text("#mirror-text", "Your camera is off.")
        ada.wait("() => Number(document.getElementById('level').ariaValueNow) > 10")
        assert sids == [], "not even connected"
        ada.press("Join")
        ada.wait_inside()
        while '"user-connected"' not in (told := str(peer.receive())):
            pass
        assert "Ada" in told
        assert ada.button("Camera").get_attribute("aria-pressed") == "false"
        assert ada.button("Microphone").get_attribute("aria-pressed") == "true"


def test_a_page_asks_for_no_device_before_a_click(open_tab: OpenTab, room: str) -> None:
    ada = open_tab(fresh=True)
    ada.page.add_init_script(
        """navigator.permissions.query = async () => ({ state: "prompt" });
        window.asked = 0;
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = (what) => (window.asked += 1, real(what));"""
    )
    ada.page.goto(f"{ada.url}/?room={room}&name=Ada")
    ada.wait_for_text("#mirror-text", "Nobody sees or hears you yet.")
    assert ada.page.evaluate("() => window.asked") == 0
    ada.press("Try camera and microphone")
    ada.page.locator("#mirror.pictured").wait_for()
    ada.press("Join")
    ada.wait_inside()
    assert ada.page.evaluate("() => window.asked") == 1


def test_who_presses_join_while_the_preview_starts_sends_one_picture_throughout(
    open_tab: OpenTab, room: str
) -> None:
    ada, ben = open_tab(fresh=True), open_tab()
    ada.page.add_init_script(
        """window.given = [];
        window.pass = [];
        const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (what) => {
          await new Promise((resolve) => window.pass.push(resolve));
          const found = await real(what);
          window.given.push(found.getTracks());
          return found;
        };"""
    )
    ada.page.goto(f"{ada.url}/?room={room}&name=Ada")
    ada.wait("() => window.pass.length === 1")
    ada.press("Join")
    ada.wait("() => window.pass.length === 2")
    for number in (0, 1):
        ada.page.evaluate("(number) => window.pass[number]()", number)
        ada.wait("(number) => window.given.length > number", number)
        if number == 0:
            ada.wait_inside()
            ben.open(room, "Ben").wait_for_video("Ada")
    ada.wait("() => window.given[1].every((each) => each.readyState === 'ended')")
    states = ada.page.evaluate("() => window.given[0].map((each) => each.readyState)")
    assert states == ["live", "live"], "peers get the first; the second is not needed"
    ben.wait_for_video("Ada")


def test_a_refused_origin_and_a_full_server_say_so(open_tab: OpenTab, room: str) -> None:
    # The server's log warns of the origin.
    elsewhere = {"ALLOWED_ORIGINS": "https://shop.example"}
    with running("public-server", "", environ=elsewhere, clean_log=False) as server:
        ada = open_tab(url=server.url, fresh=True).open(room, "Ada")
        ada.wait_for_text("#join-notice", f"The server does not allow pages from {server.url}.")
        ada.wait_for_text("#join-notice", "--allowed-origins")
        assert ada.button("Join").is_enabled()
        ada.errors.clear()
    with running("gunicorn-gevent", "tests.browser.small_app") as server:
        with RawWebSocket(server) as peer:
            peer.join()
            ben = open_tab(url=server.url, fresh=True).open(room, "Ben")
            ben.wait_for_text("#join-progress", "The server is full. Trying again…")
        ben.wait_inside()  # by itself, now that there is room
        ben.errors.clear()
        ben.page.goto("about:blank")
    cem = open_tab(fresh=True).open(room)
    cem.page.goto(f"{cem.url}/?room={room}&name=Cem")
    cem.page.context.set_offline(True)
    cem.press("Join")
    cem.wait_for_text("#join-progress", "The server does not answer. Trying again…")
    cem.page.context.set_offline(False)
    cem.wait_inside()
    cem.errors.clear()


def without_a_way(page: Page) -> None:
    """The page's connections may only use a TURN server; there is none."""
    page.add_init_script(
        """const Real = RTCPeerConnection;
        window.RTCPeerConnection = class extends Real {
          constructor(options) { super({ ...options, iceTransportPolicy: "relay" }); }
        };"""
    )


def test_two_who_cannot_reach_each_other_read_what_to_set(open_tab: OpenTab, room: str) -> None:
    ada, ben = open_tab(fresh=True), open_tab()
    without_a_way(ada.page)
    ada.open(room, "Ada").wait_inside()
    ben.open(room, "Ben").wait_inside()
    for tab in (ada, ben):
        tab.wait_for_text("#notices", "The operator can set a STUN server (--stun)")
        tab.wait_for_text("#people-tiles .state", "No connection")
    ada.page.get_by_role("button", name="OK").click()
    ada.page.locator("#notices").get_by_text("STUN").wait_for(state="hidden")


def test_two_of_one_name_get_different_names(open_tab: OpenTab, room: str) -> None:
    ada, other = together(open_tab, room, "Ada", "Ben")[0], open_tab()
    other.open(room, "Ada").wait_inside()
    other.wait_until_told("The others see you as Ada 2.")
    ada.wait_for_others("Ada 2", "Ben")


def test_who_leaves_is_off_camera_and_finds_the_switches_as_they_were(
    open_tab: OpenTab, room: str
) -> None:
    ada = open_tab().open(room, "Ada").wait_inside()
    ada.press("Microphone")
    ada.press("Leave")
    ada.wait_for_text("#mirror-text", "Nobody sees or hears you yet.")
    pressed = [
        ada.page.locator(f"#try-{each}").get_attribute("aria-pressed") for each in ("mic", "cam")
    ]
    assert pressed == ["false", "true"]
