"""One Chromium for all tests; each way of running the server; a picture of what a failure saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

from tests.browser.tabs import CALLS, CONNECTIONS, TOLD, Tab
from tests.integration.servers import Running, running

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
CHROMIUM = "/usr/bin/chromium"

#: A camera of few pictures: four tabs send and decode twelve streams, on a machine of two cores.
FAKE_DEVICES = ["--use-fake-device-for-media-stream=fps=5"]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream",
    # Fewer processes, and no sound that nobody hears: a call of four is work for two cores.
    "--in-process-gpu", "--mute-audio",
    # Addresses as they are: nobody answers for .local names where there is no multicast.
    "--disable-features=WebRtcHideLocalIpsWithMdns,AudioServiceOutOfProcess",
]  # fmt: skip

#: The public server in each way of running it that a browser meets.
EACH_WAY = ("listen", "gunicorn", "workers")
#: The way of running, the app that it runs where it needs one, and the environment.
SITES: dict[str, tuple[str, str, dict[str, str]]] = {
    "listen": ("public-server", "", {}),
    "gunicorn": ("gunicorn-gevent", "tests.browser.room_app", {}),
    "workers": ("public-server", "", {"RTCIO_WORKERS": "4"}),
    "two-seats": ("public-server", "", {"MAX_PEERS": "2"}),
}

OpenTab = Callable[..., Tab]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Calls are tried in each way of running; what is the same whatever serves it, in one."""
    if "site" in metafunc.fixturenames and not _chosen(metafunc):
        sites = EACH_WAY if metafunc.module.__name__.endswith("test_calls") else EACH_WAY[:1]
        metafunc.parametrize("site", sites, indirect=True, scope="session")


def _chosen(metafunc: pytest.Metafunc) -> bool:
    marks = metafunc.definition.iter_markers("parametrize")
    return any("site" in mark.args[0] for mark in marks)


@pytest.fixture(scope="session")
def _playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


def _launch(playwright: Playwright, *arguments: str) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments])


@pytest.fixture(scope="session")
def browser(_playwright: Playwright) -> Iterator[Browser]:
    """A browser with a fake camera and a fake microphone, given away unasked."""
    with _launch(_playwright, *FAKE_DEVICES) as browser:
        yield browser


@pytest.fixture
def new_browser(_playwright: Playwright) -> Iterator[Browser]:
    """A browser like `browser`, whose fake microphone nobody has used before."""
    with _launch(_playwright, *FAKE_DEVICES) as browser:
        yield browser


@pytest.fixture
def bare_browser(_playwright: Playwright) -> Iterator[Browser]:
    """A browser on a machine that has neither."""
    with _launch(_playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The public server, as `SITES` has it."""
    way, module, environ = SITES[request.param]
    with running(way, module, environ=environ) as server:
        yield server


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return str(request.node.name)


class Profiles:
    """Pages to be used again: to start one takes three times the work of a call in it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: list[Page] = []

    def take(self) -> Page:
        return self._idle.pop() if self._idle else self.make()

    def make(self, **options: Any) -> Page:
        options = {"viewport": {"width": 800, "height": 600}, **options}
        page = self._browser.new_context(**options).new_page()
        page.add_init_script(TOLD)
        page.add_init_script(CONNECTIONS)
        return page

    def give_back(self, page: Page) -> None:
        """Takes a page back in which nothing went wrong, as if nothing had been done in it."""
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        page.goto("about:blank")
        self._idle.append(page)


@pytest.fixture(scope="session")
def _profiles(browser: Browser) -> Profiles:
    return Profiles(browser)


@pytest.fixture
def open_tab(
    _profiles: Profiles, site: Running, request: pytest.FixtureRequest
) -> Iterator[OpenTab]:
    """Opens tabs, each with a profile of its own; closes them, and looks for errors in them.

    What takes ``options`` of a browser context, or ``fresh``, is thrown away after the test.
    """
    tabs: list[Tab] = []
    plain: list[Tab] = []

    def open_tab(
        *,
        url: str | None = None,
        browser: Browser | None = None,
        fresh: bool = False,
        **options: Any,
    ) -> Tab:
        again = not (browser or fresh or options)
        profiles = Profiles(browser) if browser else _profiles
        tab = Tab(profiles.take() if again else profiles.make(**options), url or site.url)
        tabs.append(tab)
        if again:
            plain.append(tab)
        return tab

    yield open_tab
    failed = getattr(request.node, "failed", False)
    for number, tab in enumerate(tabs):
        if failed:
            _photograph(tab, f"{request.node.name}-{number}")
            with suppress(Error):
                print(f"tab {number}:", tab.page.evaluate(CALLS))
    for tab in tabs:
        tab.detach()
        try:
            if failed or tab not in plain or tab.page.is_closed():
                tab.page.context.close()
            else:
                _profiles.give_back(tab.page)
        except Error:  # crashed by the test, or with it
            with suppress(Error):
                tab.page.context.close()
    if not failed:
        assert [tab.errors for tab in tabs] == [[] for _ in tabs]


def _photograph(tab: Tab, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with suppress(Error):
        path = ARTIFACTS / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.png"
        tab.page.screenshot(path=path, timeout=5_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report
