"""One Chromium for all tests; each way of running the server; a picture of what a failure saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from tests.browser.tabs import Tab
from tests.integration.servers import Running, running

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
CHROMIUM = "/usr/bin/chromium"

#: A camera of few pictures: four tabs send and decode twelve streams, on a machine of two cores.
FAKE_DEVICES = ["--use-fake-device-for-media-stream=fps=10"]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream",
    # Addresses as they are: nobody answers for .local names where there is no multicast.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]  # fmt: skip

#: The public server in each way of running it that a browser meets.
EACH_WAY = ("listen", "gunicorn")
#: The way of running, the app that it runs where it needs one, and the environment.
SITES: dict[str, tuple[str, str, dict[str, str]]] = {
    "listen": ("public-server", "", {}),
    "gunicorn": ("gunicorn-gevent", "tests.browser.room_app", {}),
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.integration)


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


@pytest.fixture
def open_tab(browser: Browser, site: Running, request: pytest.FixtureRequest) -> Iterator[OpenTab]:
    """Opens tabs, each with a profile of its own; closes them, and looks for errors in them."""
    tabs: list[Tab] = []

    def open_tab(*, url: str | None = None, browser: Browser = browser, **options: Any) -> Tab:
        context = browser.new_context(**{"viewport": {"width": 800, "height": 600}, **options})
        tabs.append(Tab(context, url or site.url))
        return tabs[-1]

    yield open_tab
    failed = getattr(request.node, "failed", False)
    for number, tab in enumerate(tabs):
        if failed:
            _photograph(tab, f"{request.node.name}-{number}")
    for tab in tabs:
        with suppress(Error):  # it may have been closed, or crashed, by the test
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
