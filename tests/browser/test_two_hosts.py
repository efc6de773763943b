"""The room page on two hosts behind one nginx that takes them in turn (compose-hosts.yaml)."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from tests.browser.conftest import OpenTab
from tests.browser.tabs import DEADLINE
from tests.examples.two_hosts import Hosts


def test_a_call_between_two_hosts_goes_on_when_one_of_them_dies(
    open_tab: OpenTab, tmp_path: Path, room: str
) -> None:
    with ExitStack() as stack:
        hosts = Hosts(stack, tmp_path)
        ada, ben = open_tab(url=hosts.url, fresh=True), open_tab(url=hosts.url, fresh=True)
        of_ada, of_ben = ada.record_sids(), ben.record_sids()
        ada.open(room, "Ada").wait_inside()
        end = time.monotonic() + DEADLINE
        while not of_ben or hosts.of(of_ben[-1]) is hosts.of(of_ada[-1]):
            assert time.monotonic() < end, (of_ada, of_ben)
            ben.open(room, "Ben").wait_inside()
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        ada.wait_for_others("Ben")  # Ben's earlier pages have left
        ada.watch_tiles()

        before = len(of_ben)
        ben.forget_told()
        hosts.of(of_ben[-1]).kill()
        ben.wait_until_told("The connection to the server is lost")
        ben.wait("() => !document.getElementById('banner').textContent")
        assert hosts.of(of_ben[-1]) is hosts.of(of_ada[-1]) and len(of_ben) > before
        ada.wait_for_others("Ben")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        assert ada.most_seen == 1
        ben.say("I am back")
        ada.wait_for_message("I am back")
        cem = open_tab(url=hosts.url, fresh=True).open(room, "Cem")
        cem.wait_for_video("Ada", "Ben")
        for tab, others in ((ada, ("Ben", "Cem")), (ben, ("Ada", "Cem"))):
            tab.wait_for_others(*others)
