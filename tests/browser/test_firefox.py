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
