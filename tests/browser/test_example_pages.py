"""The page of the examples, `examples/try_it.py`: its buttons log in, connect, and begin a call."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.tabs import DEADLINE
from tests.examples.launch import EXAMPLES, example
from tests.integration.servers import Running

PATIENCE = DEADLINE * 1000  # ms

#: Those of the room page and of `minimal.py`, what is no server, and what needs Redis.
OTHERS = {
    "aiortc_bot.py",
    "background_jobs.py",
    "emit_from_outside.py",
    "gunicorn.conf.py",
    "minimal.py",
    "public_rooms.py",
    "room_access.py",
    "rooms_app.py",
    "test_rooms_app.py",
    "try_it.py",
    "turn_credentials.py",
}
TRIED = sorted(each.name for each in EXAMPLES.glob("*.py") if each.name not in OTHERS)


def token_of(server: Running) -> str:
    """The token that `jwt_auth.py` prints."""
    return server.log().partition("a token for an hour: ")[2].split()[0]


@pytest.mark.parametrize("name", TRIED)
def test_two_tabs_press_the_buttons_and_are_in_a_call(
    browser: Browser, name: str, tmp_path: Path
) -> None:
    kept = {"USED_TOKENS": str(tmp_path / "tokens"), "CHAT_DB": str(tmp_path / "chat")}
    with example(name, **kept) as server:
        pages = [opened(browser, server) for _ in range(2)]
        for page in pages:
            press_all(page, lambda: token_of(server))
        for page in pages:
            expect(page.get_by_role("log")).to_contain_text("is connected", timeout=PATIENCE)
            page.context.close()


def opened(browser: Browser, server: Running) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url.replace("127.0.0.1", "localhost"))
    return page


def press_all(page: Page, token: Callable[[], str]) -> None:
    """From top to bottom, as the page says."""
    log = page.get_by_role("log")
    requests = page.get_by_role("button", name="Send requests")
    if requests.is_visible():
        asked = page.locator("[name=requests]").input_value().count("\n") + 1
        requests.click()
        expect(log).to_contain_text(re.compile("→ 200.*" * asked, re.DOTALL), timeout=PATIENCE)
    auth = page.locator("[name=auth]")
    if "paste the token" in auth.input_value():
        auth.fill(f'{{"token": "{token()}"}}')
    page.get_by_role("button", name="Connect without camera").click()
    expect(log).to_contain_text("connected as", timeout=PATIENCE)
    page.get_by_role("button", name="Send event").click()
    expect(log).to_contain_text("sent join-room", timeout=PATIENCE)
