"""Real WebRTC stacks meet through each way of running: aiortc with aiortc, and with a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Playwright, async_playwright

from tests.integration.aiortc_peers import Background, Peer
from tests.integration.clients import NODE_DIR
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

SOCKET_IO_CLIENT = NODE_DIR / "node_modules/socket.io-client/dist/socket.io.min.js"
PAGE = Path(__file__).parent / "node/peer.js"
WAYS = ["listen", "gunicorn-gevent", "gunicorn-geventwebsocket", "werkzeug"]


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "lobby_rooms") as server:
        yield server


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


@pytest.fixture(scope="module")
def browser(background: Background) -> Iterator[Browser]:
    # In the background's loop: another test's browser may be driven from this thread's.
    async def start() -> tuple[Playwright, Browser]:
        playwright = await async_playwright().start()
        return playwright, await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-features=WebRtcHideLocalIpsWithMdns"],
        )

    playwright, browser = background.run(start())
    yield browser
    background.run(browser.close())
    background.run(playwright.stop())


def test_two_aiortc_peers_reach_an_open_data_channel(
    server: Running, background: Background
) -> None:
    async def meet() -> None:
        a, b = Peer("ada"), Peer("bob")
        await a.join(server.url, "aiortc", ["websocket"])
        await b.join(server.url, "aiortc")  # on polling first, and upgraded
        try:
            await a.say(b.sid, "hello", "from ada")
            await b.say(a.sid, "hello", "from bob", {"to": "ada"})
            assert await b.hear(a.sid) == ["hello", "from ada"]
            assert await a.hear(b.sid) == ["hello", "from bob", {"to": "ada"}]
        finally:
            await b.leave()
            await a.leave()

    background.run(meet())


def test_aiortc_and_a_browser_reach_an_open_data_channel(
    server: Running, background: Background, browser: Browser
) -> None:
    async def meet() -> None:
        page = await browser.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{server.url}/health")
        await page.add_script_tag(path=SOCKET_IO_CLIENT)
        await page.add_script_tag(path=PAGE)
        early, late = Peer("early"), Peer("late")
        try:
            # The one who is there already makes the offer: aiortc here, the browser next.
            await early.join(server.url, "mixed", ["websocket"])
            tab = await page.evaluate("joinAs('tab', 'mixed')")
            await late.join(server.url, "mixed", ["websocket"])
            for peer in (early, late):
                assert await peer.hear(tab) == ["hello", "tab"]
                await peer.say(tab, "hello", peer.name)
                said = f"heard.find(([id, m]) => id === '{peer.sid}' && m.d[0] === '{peer.name}')"
                assert await (await page.wait_for_function(said)).json_value() == [
                    peer.sid,
                    {"e": "hello", "d": [peer.name]},
                ]
                assert peer.candidates[tab] > 0  # a browser sends them one by one
            states = await page.evaluate(
                "[...peers.values()].map(p => p.connection.connectionState)"
            )
            assert states == ["connected", "connected"]
            await early.open(late.sid)
            assert errors == []
        finally:
            await late.leave()
            await early.leave()
            await page.close()

    background.run(meet())
