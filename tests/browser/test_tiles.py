"""The call itself: who speaks, who is in front, how good the connections are, keys, devices."""

from __future__ import annotations

from tests.browser.conftest import OpenTab
from tests.browser.crowd import Crowd
from tests.browser.tabs import Tab, together

TILE = "#people-tiles .tile:not(.own)"


def with_crowd(open_tab: OpenTab, room: str, **options: object) -> tuple[Tab, Crowd]:
    ada = open_tab(fresh=True, **options)
    sids = ada.record_sids()
    ada.open(room, "Ada").wait_inside()
    return ada, Crowd(open_tab(fresh=True), ada, sids[-1], room)


def test_who_speaks_is_marked_and_each_connection_has_its_figures(
    open_tab: OpenTab, room: str
) -> None:
    ada, crowd = with_crowd(open_tab, room)
    crowd.grow_to(2, speaks="Chidi")
    ada.wait(
        """() => [...document.querySelectorAll(".tile:not(.own).speaking .name")]
             .map((each) => each.textContent).join() === "Chidi" """
    )
    sign = ada.page.get_by_role("button", name="Connection to Chidi: ")
    sign.first.focus()  # a tile shows its buttons to the keyboard too
    ada.page.keyboard.press("Enter")
    figures = ada.page.locator(TILE, has_text="Chidi").locator(".figures")
    figures.wait_for()
    assert figures.locator("dt").all_text_contents() == [
        "Round trip", "Packets lost", "Receiving", "Sending",
    ]  # fmt: skip
    ada.wait(
        r"""() => [...document.querySelectorAll(".figures:not([hidden]) dd")]
             .map((each) => each.textContent).join()
             .match(/^\d+ ms,\d+\.\d %,[1-9]\d* kbit\/s,[1-9]\d* kbit\/s$/)"""
    )
    ada.page.keyboard.press("Enter")
    figures.wait_for(state="hidden")


def test_somebody_may_be_pinned_and_fill_the_screen(open_tab: OpenTab, room: str) -> None:
    ada, crowd = with_crowd(open_tab, room)
    crowd.grow_to(3)
    own = ada.page.locator(".own")
    small, tile = own.bounding_box(), ada.page.locator(TILE).first.bounding_box()
    assert small and tile and small["width"] < tile["width"] / 2, "our own picture is small"
    ben = ada.page.locator(".tile", has_text="Ben")
    ben.hover()
    ada.press("Pin Ben")
    ada.wait_for_video("Ben", where="#screens")
    ada.wait_for_others("Chidi", "Dilnoza")
    front = ben.bounding_box()
    assert front and front["width"] > tile["width"]
    chidi = ada.page.locator(".tile", has_text="Chidi")
    chidi.hover()
    ada.press("Pin Chidi")  # in his place
    ada.wait_for_video("Chidi", where="#screens")
    ada.press("Pin Chidi")
    ada.wait_for_others("Ben", "Chidi", "Dilnoza")
    ada.wait_for_video("Chidi")
    full = "() => document.fullscreenElement?.querySelector('.name').textContent"
    ben.dblclick()
    ada.wait(f"() => ({full})() === 'Ben'")
    ben.dblclick()
    ada.wait("() => !document.fullscreenElement")


def test_keys_work_and_can_be_turned_off(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    keys = ada.page.keyboard
    keys.press("m")
    ben.state_of("Ada", "microphone off")
    keys.press("c")
    ada.page.locator("#text:focus").wait_for()
    keys.type("mvc? see https://example.com/a_(b)?c=d, or http://b.example.")
    keys.press("Enter")
    ben.wait_for_message("mvc? see")
    links = ben.page.locator("#messages a")
    assert [each.get_attribute("href") for each in links.all()] == [
        "https://example.com/a_(b)?c=d", "http://b.example",
    ]  # fmt: skip
    assert links.first.get_attribute("rel") == "noopener noreferrer"
    ben.state_of("Ada", "microphone off")
    ada.page.locator("#mic").focus()
    keys.press("?")
    ada.page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    keys.press("m")  # not while a dialog is open
    ada.page.get_by_label("Use these keys").uncheck()
    keys.press("Escape")
    keys.press("v")
    keys.press("m")
    ada.press("Microphone")
    ben.state_of("Ada", "microphone on", "camera on")


def test_a_device_may_be_changed_or_unplugged_during_a_call(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.press("Settings")
    microphones = ben.page.get_by_label("Use this microphone")
    names = microphones.locator("option").all_text_contents()
    assert len(names) >= 2
    microphones.select_option(label=names[-1])
    ben.wait(
        """(name) => document.querySelector(".own video")
             .srcObject.getAudioTracks()[0]?.label === name""",
        names[-1],
    )
    ben.page.keyboard.press("Escape")
    # As a browser tells that a device is gone.
    ben.page.evaluate(
        """() => {
          const [track] = document.querySelector(".own video").srcObject.getVideoTracks();
          track.stop();
          track.dispatchEvent(new Event("ended"));
        }"""
    )
    ben.wait_until_told("The camera was disconnected. Now in use: fake_device_0.")
    ada.state_of("Ben", "microphone on", "camera on")
    ada.wait_for_video("Ben")
