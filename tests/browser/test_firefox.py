"""Calls between Firefox and Chromium, and between two tabs of Firefox's."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenTab
from tests.browser.firefox import FIREFOX, firefox
from tests.integration.servers import Running

pytestmark = pytest.mark.skipif(not FIREFOX, reason="the distribution has no Firefox")


def test_firefox_and_chromium_call_each_other(open_tab: OpenTab, site: Running, room: str) -> None:
    with firefox() as ada:
        ada.join(site.url, room, "Ada")
        ben = open_tab().open(room, "Ben")
        ben.wait_for_video("Ada")
        ada.wait_for_video("Ben")
        ben.state_of("Ada", "microphone on", "camera on")

        ben.say("hello from Chromium")
        ada.wait("document.querySelector('#messages')?.textContent.includes('from Chromium')")
        ada.evaluate("document.querySelector('#text').value = 'hello from Firefox'")
        ada.evaluate("document.querySelector('#say').requestSubmit()")
        ben.wait_for_message("hello from Firefox")

        ada.evaluate("document.getElementById('cam').click()")
        ben.state_of("Ada", "camera off")
        ada.evaluate("document.getElementById('cam').click()")
        ben.state_of("Ada", "camera on")
        ben.wait_for_video("Ada")

        ben.press("Share screen")
        ada.wait_for_video("Screen of Ben", where="#screens")
        ada.wait("document.querySelector('.tile:not(.own) .quality:not([hidden])')?.ariaLabel")
        with firefox() as cem:
            cem.join(site.url, room, "Cem")
            cem.wait_for_video("Ada", "Ben")
            cem.wait_for_video("Screen of Ben", where="#screens")
            ada.wait_for_video("Cem", "Ben")
            ben.wait_for_video("Ada", "Cem")
        ben.wait_for_others("Ada")
        ben.press("Leave")
        ada.wait("document.querySelectorAll('#people-tiles .tile').length === 1")


def test_firefox_gets_a_new_call_after_it_offered_to_go_on_with_a_closed_one(
    open_tab: OpenTab, site: Running, room: str
) -> None:
    # It does not take another peer's certificate into a connection, as Chromium does.
    ada = open_tab(fresh=True).open(room, "Ada").wait_inside()
    with firefox() as ben:
        ben.join(site.url, room, "Ben")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        ben.evaluate("connections[0].channel.onclose = null")
        ada.page.evaluate("() => connections[0].channel.dispatchEvent(new Event('close'))")
        ben.evaluate("(connections[0].restartIce(), null)")
        ada.wait("() => window.connections.length > 1")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        ada.say("hello again")
        ben.wait("document.querySelector('#messages')?.textContent.includes('hello again')")
