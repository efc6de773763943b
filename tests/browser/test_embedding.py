"""The room in a page of another site, as the element <rtcio-room>."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.browser.conftest import OpenTab
from tests.integration.servers import Running, running


class Shop:
    """A site of somebody's, with one page."""

    def __init__(self) -> None:
        shop = self
        self.html = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(shop.html.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.server.server_port}"

    def show(self, server: Running, room: str) -> None:
        self.html = f"""<!doctype html><title>A shop</title><link rel="icon" href="data:,">
            <script src="{server.url}/room.js"></script>
            <h1>A shop</h1><rtcio-room room="{room}" name="Ada"></rtcio-room>"""


@contextmanager
def a_shop() -> Iterator[Shop]:
    shop = Shop()
    thread = threading.Thread(target=shop.server.serve_forever, daemon=True)
    thread.start()
    yield shop
    shop.server.shutdown()
    shop.server.server_close()
    thread.join()


def test_a_page_of_another_site_shows_a_room(open_tab: OpenTab, site: Running, room: str) -> None:
    tab = open_tab(fresh=True)
    page = tab.page
    with a_shop() as shop:
        with running("public-server", "", environ={"EMBED_IN": shop.origin}) as server:
            shop.show(server, room)
            page.goto(f"{shop.origin}/")
            page.evaluate(
                """() => {
                  window.told = [];
                  for (const event of ["rtcio-joined", "rtcio-left"]) {
                    addEventListener(event, ({ detail }) => told.push([event, detail.room]));
                  }
                }"""
            )
            # Not the frame, but another script of the page says so.
            said = {"from": "rtcio-room", "event": "joined", "room": "x"}
            page.evaluate("(said) => postMessage(said, '*')", said)
            frame = page.frame_locator("rtcio-room iframe")
            frame.get_by_role("button", name="Join").click()
            ben = open_tab(url=server.url, fresh=True).open(room, "Ben")
            ben.wait_for_video("Ada")
            tab.wait("() => told.length === 1")
            frame.get_by_role("button", name="Leave").click()
            tab.wait("() => told.length === 2")
            told = page.evaluate("() => told")
            assert told == [["rtcio-joined", room], ["rtcio-left", room]]
            ben.wait_for_others()
            assert tab.errors == []

        # A server that does not allow the shop is not shown there.
        shop.show(site, room)
        page.goto(f"{shop.origin}/")
        while not any("frame-ancestors" in error for error in tab.errors):
            page.wait_for_timeout(50)  # ms; the page's messages come meanwhile
        tab.errors.clear()
