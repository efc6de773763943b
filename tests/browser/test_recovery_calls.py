"""Connection state recovery under a call: negotiation goes on where the connection was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.tabs import wait_until_true
from tests.integration.clients import NODE_DIR
from tests.integration.line import Line
from tests.integration.servers import Running, running

SOCKET_IO_CLIENT = NODE_DIR / "node_modules/socket.io-client/dist/socket.io.min.js"
PAGE = Path(__file__).parent / "renegotiation.js"

Pair = tuple[Page, Page]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running("listen", "lobby_rooms", connection_state_recovery=True) as server:
        yield server


@pytest.fixture
def line(server: Running) -> Iterator[Line]:
    with Line(server.port) as line:
        yield line


@pytest.fixture
def pair(browser: Browser, server: Running, line: Line, room: str) -> Iterator[Pair]:
    """Two who have met in a room: the first offered. The second's line may be cut."""
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    errors: list[str] = []
    for page, url in ((first, server.url), (second, line.url)):
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/health")
        page.add_script_tag(path=SOCKET_IO_CLIENT)
        page.add_script_tag(path=PAGE)
        page.evaluate("(room) => joinAs(room)", room)
    for page in (first, second):
        wait_until_true(page, "() => peer.open")
    yield first, second
    context.close()
    assert errors == []


def test_two_who_renegotiate_at_the_same_moment_settle(pair: Pair) -> None:
    for page in pair:
        page.evaluate("() => peer.holdAnOffer()")
    assert [page.evaluate("() => peer.pc.signalingState") for page in pair] == [
        "have-local-offer", "have-local-offer",
    ]  # fmt: skip
    for page in pair:
        page.evaluate("() => peer.release()")
    for page in pair:
        wait_until_true(page, "() => peer.settled")
    first, second = (page.evaluate("() => peer.heard") for page in pair)
    assert (first["ignored"], second["ignored"]) == (0, 1), "one gave way, one did not"
    assert first["options"] == [{"polite": True}]
    assert second["options"] == [None]


def test_an_offer_that_meets_a_cut_line_settles_after_the_return(pair: Pair, line: Line) -> None:
    first, second = pair
    ids = [page.evaluate("() => peer.socket.id") for page in pair]
    line.cut()
    wait_until_true(second, "() => !peer.socket.connected")
    for page in pair:
        page.evaluate("() => peer.holdAnOffer()")
        page.evaluate("() => peer.release()")
    line.mend()
    wait_until_true(second, "() => peer.socket.recovered")
    for page in pair:
        wait_until_true(page, "() => peer.settled")
    assert [page.evaluate("() => peer.socket.id") for page in pair] == ids
    heard = first.evaluate("() => peer.heard")
    assert heard["options"] == [{"polite": True}], "it was asked to offer once"
    assert heard["offers"] == [ids[1]]
