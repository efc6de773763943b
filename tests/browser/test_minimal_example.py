"""The page of ``examples/minimal.py``: a client without a library."""

from __future__ import annotations

from playwright.sync_api import Browser, Page

from tests.browser.tabs import DEADLINE, wait_until_true
from tests.examples.launch import example

_PLAYING = """(count) => [...document.querySelectorAll("video")]
  .filter((video) => video.getVideoPlaybackQuality().totalVideoFrames > 3).length === count"""


def test_two_tabs_see_each_other_and_one_notices_that_the_other_left(browser: Browser) -> None:
    with example("minimal.py") as server:
        pages = [joined(browser, server.url) for _ in range(2)]
        for page in pages:
            wait_until_true(page, _PLAYING, 2)
        pages[0].context.close()
        wait_until_true(pages[1], "() => document.querySelectorAll('video').length === 1")
        pages[1].context.close()


def joined(browser: Browser, url: str) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(DEADLINE * 1000)
    page.goto(url.replace("127.0.0.1", "localhost"))
    page.get_by_role("button").click()
    return page
