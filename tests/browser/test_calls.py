"""Calls between real browsers, over each way of running the server."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Error, Page, WebSocketRoute

from tests.browser.conftest import OpenTab
from tests.browser.tabs import DEADLINE, bystander, together
from tests.integration.line import Line
from tests.integration.servers import Running


def test_two_tabs_see_each_other(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    assert (ada.others(), ben.others()) == (["Ben"], ["Ada"])
    ada.wait_for_text("#count", "2 people")
    ada.state_of("Ben", "microphone on", "camera on")


@pytest.mark.parametrize("site", ["workers"], indirect=True, scope="session")
def test_two_tabs_on_different_workers_see_each_other(
    open_tab: OpenTab, site: Running, room: str
) -> None:
    site.eventually("/health", lambda health: health["workers"] == 4)
    ada, ben = open_tab(), open_tab()
    of_ada, of_ben = ada.record_sids(), ben.record_sids()
    ada.open(room, "Ada").wait_inside()
    end = time.monotonic() + DEADLINE
    while not of_ben or of_ben[-1][:4] == of_ada[-1][:4]:  # the kernel chooses the worker
        assert time.monotonic() < end, (of_ada, of_ben)
        ben.open(room, "Ben").wait_inside()
    ada.wait_for_video("Ben")
    ben.wait_for_video("Ada")
    ben.page.goto("about:blank")
    ada.wait_for_others()


def test_one_who_comes_late_sees_both_and_is_seen(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    cem = open_tab().open(room, "Cem")
    cem.wait_for_video("Ada", "Ben")
    ada.wait_for_video("Ben", "Cem")
    ben.wait_for_video("Ada", "Cem")


def timed_out(site: Running) -> float:
    """How many clients answered no ping."""
    found = re.findall(r'closed_connections_total{reason="ping-timeout"} (\S+)', metrics(site))
    return sum(map(float, found))


def metrics(site: Running) -> str:
    text = site.get("/metrics").read().decode()
    assert "rtcio_closed_connections" in text
    return text


def test_four_who_come_at_once_all_see_each_other(open_tab: OpenTab, room: str) -> None:
    names = ["Ada", "Ben", "Cem", "Dia"]
    tabs = [open_tab() for _ in names]
    for tab, name in zip(tabs, names, strict=True):
        tab.page.goto(f"{tab.url}/?room={room}&name={name}", wait_until="commit")
    for tab in tabs:
        tab.press("Join")
    for tab, own in zip(tabs, names, strict=True):
        tab.wait_for_others(*(name for name in names if name != own))
        tab.wait_for_video(*(name for name in names if name != own))


@pytest.mark.parametrize(
    ("site", "end"),
    [("listen", "closed"), ("gunicorn", "closed"), ("listen", "crashed")],
    indirect=["site"],
    scope="session",
)
def test_a_tab_that_is_gone_goes_from_the_others(
    open_tab: OpenTab, site: Running, room: str, end: str
) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    with bystander(site, room) as peer:
        ada.wait_for_others("Ben", "Bystander")
        if end == "closed":
            ben.page.close()
        else:
            with pytest.raises(Error):
                ben.page.goto("chrome://crash")
            ben.errors.clear()
        given_up = timed_out(site)
        while "#rtcio:peer-left" not in str(peer.receive()):
            pass
        assert timed_out(site) == given_up, "at once, and not when its pings were over"
        ada.wait(
            """() => ![...document.querySelectorAll("#people-tiles .name")]
                 .some((each) => each.textContent === "Ben")"""
        )
    ada.wait_for_others()


def test_a_room_with_a_password_lets_in_who_knows_it(open_tab: OpenTab, room: str) -> None:
    ada = open_tab().open()
    ada.fill("Your name", "Ada")
    ada.fill("Room", room)
    ada.fill("Password", "open sesame")
    ada.press("Join")
    ada.wait_inside()

    ben = open_tab().open(room, "Ben")
    ben.wait_for_text("#join-notice", "needs a password")
    ben.fill("Password", "close sesame")
    ben.press("Join")
    ben.wait_for_text("#join-notice", "not the password")
    assert ben.page.evaluate("document.activeElement.id") == "password"
    assert ada.others() == []
    ben.page.keyboard.press("Control+A")
    ben.page.keyboard.type("open sesame")
    ben.page.keyboard.press("Enter")
    ben.wait_for_video("Ada")

    ben.reload()
    ben.wait_for_video("Ada")


def test_who_reloads_is_back(open_tab: OpenTab, room: str) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    ben.reload()
    ben.wait_for_video("Ada")
    ada.wait_for_others("Ben")
    ada.wait_for_video("Ben")
    ben.reload()
    ben.wait_for_video("Ada")
    ada.wait_for_others("Ben")


def swap(page: Page) -> None:
    """Lets `peer-left` pass only after `user-disconnected`, as it may come from other workers."""
    held: list[str | bytes] = []

    def carry(ws: WebSocketRoute) -> None:
        server = ws.connect_to_server()

        def from_server(message: str | bytes) -> None:
            if "#rtcio:peer-left" in str(message):
                held.append(message)
                return
            ws.send(message)
            if "user-disconnected" in str(message):
                for each in held:
                    ws.send(each)
                held.clear()

        server.on_message(from_server)

    page.route_web_socket(re.compile("/socket.io/"), carry)


@pytest.mark.parametrize("site", ["listen"], indirect=True, scope="session")
def test_the_call_lives_on_if_the_room_hears_first_that_a_peer_is_lost(
    open_tab: OpenTab, site: Running, room: str
) -> None:
    with Line(site.port) as line:
        ada, ben = open_tab(fresh=True), open_tab(url=line.url, fresh=True)
        swap(ada.page)
        ada.open(room, "Ada").wait_inside()
        ben.open(room, "Ben")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        ben.forget_told()
        line.cut()
        ben.wait_until_told("The connection to the server is lost")
        site.eventually("/health", lambda health: health["sockets"] == 1)
        time.sleep(1.5)  # longer than peer-left may be late
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")


def test_the_call_lives_on_while_the_line_to_the_server_is_cut(
    open_tab: OpenTab, site: Running, room: str
) -> None:
    with Line(site.port) as line:
        ada = open_tab().open(room, "Ada")
        ben = open_tab(url=line.url, fresh=True)
        sids = ben.record_sids()
        ben.open(room, "Ben")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        for tab in (ada, ben):
            tab.watch_tiles()

        ben.forget_told()
        line.cut()
        ben.wait_until_told("The connection to the server is lost")
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            ada.wait_for_video("Ben")
            ben.wait_for_video("Ada")
            time.sleep(0.3)
        ben.say("can you read this?")
        ada.wait_for_message("can you read this?")

        line.mend()
        ben.wait("() => !document.getElementById('banner').textContent")
        # The server knows Ben again, and nobody sees anything of it.
        assert len(sids) == 2
        assert sids[0] == sids[1]
        cem = open_tab().open(room, "Cem")
        cem.wait_for_video("Ada", "Ben")
        ada.wait_for_others("Ben", "Cem")
        ben.wait_for_others("Ada", "Cem")
        ada.wait_for_video("Ben")
        ben.wait_for_video("Ada")
        assert (ada.most_seen, ben.most_seen) == (2, 2)
        ada.say("all is well")
        ben.wait_for_message("all is well")


def test_an_offer_of_a_connection_that_is_closed_does_not_hinder_the_next_one(
    open_tab: OpenTab, room: str
) -> None:
    ada, ben = together(open_tab, room, "Ada", "Ben")
    # Ada, who called, closes the connection; Ben has not heard of it and offers to go on.
    ben.page.evaluate(
        """() => { const [old] = connections; old.channel.onclose = null;
        window.offer = () => old.restartIce(); }"""
    )
    ada.page.evaluate("() => connections[0].channel.dispatchEvent(new Event('close'))")
    ben.page.evaluate("() => window.offer()")
    ada.wait("() => window.connections.length > 1")
    ada.wait_for_video("Ben")
    ben.wait_for_video("Ada")
    ada.say("hello again")
    ben.wait_for_message("hello again")
